package volumetest

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/image-csi/image-csi-operator/internal/nodeplugin/imagestore"
)

// Pin pins the tree that a reference leads to.
func (w *World) Pin(_ context.Context, reference string) (imagestore.Tree, error) {
	w.Mu.Lock()
	id := w.Tags[reference]
	w.Mu.Unlock()
	return w.pin(id)
}

// Size gives every tree 3 MiB in 40 files, or what the test says.
func (w *World) Size(context.Context, string) (imagestore.Size, error) {
	w.Mu.Lock()
	defer w.Mu.Unlock()
	return imagestore.Size{Bytes: cmp.Or(w.Bytes, 3<<20), Inodes: 40}, w.Act("size", func() error { return nil })
}

func (w *World) pin(id string) (imagestore.Tree, error) {
	w.Mu.Lock()
	defer w.Mu.Unlock()
	var tree imagestore.Tree
	err := w.Act("pin", func() error {
		if id == "" {
			return imagestore.ErrNotFound
		}
		w.HasPin[id] = true
		tree = imagestore.Tree{ID: id, Layers: w.layersOf(id), Digest: DigestOf(id)}
		return nil
	})
	return tree, err
}

// layersOf are a tree's layers: those that the test gave it, or one that is nowhere.
func (w *World) layersOf(id string) []string {
	if layers, ok := w.Layers[id]; ok {
		return layers
	}
	return []string{"/layers/" + id}
}

// DigestOf is the digest of the image with a tree.
func DigestOf(tree string) string { return "digest of " + tree }

// Find finds every image, and counts as a pin what pins one that was not pinned when it was found.
func (w *World) Find(_ context.Context, reference string) (imagestore.PinFunc, string) {
	w.Mu.Lock()
	defer w.Mu.Unlock()
	id, ok := w.Tags[reference]
	switch {
	case !ok:
		return nil, ""
	case w.HasPin[id]:
		return func(context.Context) (imagestore.Tree, error) {
			return imagestore.Tree{ID: id, Layers: w.layersOf(id), Digest: DigestOf(id)}, nil
		}, DigestOf(id)
	default:
		return func(context.Context) (imagestore.Tree, error) { return w.pin(id) }, DigestOf(id)
	}
}

// Pinned finds every tree that is pinned.
func (w *World) Pinned(_ context.Context, id string) (imagestore.Tree, error) {
	w.Mu.Lock()
	defer w.Mu.Unlock()
	tree := imagestore.Tree{ID: id, Layers: w.layersOf(id)}
	return tree, w.Act("pinned", func() error {
		if !w.HasPin[id] {
			return imagestore.ErrNotFound
		}
		return nil
	})
}

// Pins lists the trees that are pinned.
func (w *World) Pins(context.Context) ([]string, error) {
	w.Mu.Lock()
	defer w.Mu.Unlock()
	return slices.Sorted(maps.Keys(w.HasPin)), nil
}

// PinnedImages lists the trees that are pinned, each with the references that lead to it.
func (w *World) PinnedImages(context.Context) ([]imagestore.PinnedImage, error) {
	w.Mu.Lock()
	defer w.Mu.Unlock()
	var pinned []imagestore.PinnedImage
	for _, id := range slices.Sorted(maps.Keys(w.HasPin)) {
		p := imagestore.PinnedImage{Tree: id, Digest: DigestOf(id)}
		for _, reference := range slices.Sorted(maps.Keys(w.Tags)) {
			if w.Tags[reference] == id {
				p.Image = reference
			}
		}
		pinned = append(pinned, p)
	}
	return pinned, w.Act("pins", func() error { return nil })
}

// Unpin notes a mount that still shows the tree as broken.
func (w *World) Unpin(ctx context.Context, id string) error {
	return w.Answer(ctx, func() error { return w.unpin(id) })
}

// Repin finds every tree but those whose layers were removed.
func (w *World) Repin(_ context.Context, id string) error {
	w.Mu.Lock()
	defer w.Mu.Unlock()
	return w.Act("repin", func() error {
		if w.Lost[id] {
			return imagestore.ErrNotFound
		}
		w.HasPin[id] = true
		return nil
	})
}

// Collect frees nothing.
func (w *World) Collect(context.Context) error {
	w.Mu.Lock()
	defer w.Mu.Unlock()
	return w.Act("collect", func() error { return nil })
}

func (w *World) unpin(id string) error {
	w.Mu.Lock()
	err := w.Act("unpin", func() error {
		for _, m := range w.Mounted {
			if strings.HasSuffix(m.Source, "@"+id) || strings.HasSuffix(m.Root, "/"+strings.TrimPrefix(id, "sha256:")) {
				w.Broken = append(w.Broken, "unpinned "+id+" under the mount at "+m.Target)
			}
		}
		delete(w.HasPin, id)
		return nil
	})
	hook := w.OnUnpin
	w.Mu.Unlock()
	if hook != nil {
		hook()
	}
	return err
}

// Close has nothing to close.
func (w *World) Close() error { return nil }
