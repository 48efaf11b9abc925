package volume

import (
	"context"
	"path/filepath"
	"time"

	"github.com/image-csi/image-csi-operator/internal/contract"
	"github.com/image-csi/image-csi-operator/internal/liveview"
	"github.com/image-csi/image-csi-operator/internal/nodeplugin/hostmount"
	"github.com/image-csi/image-csi-operator/internal/nodeplugin/imagestore"
)

// ListVolumes returns the volumes that are mounted for pods, from the mount table. It takes no lock, and figures that cannot be had at
// once are missing.
func (n *Node) ListVolumes(ctx context.Context) ([]liveview.Volume, error) {
	volumes, _, err := n.list(ctx)
	return volumes, err
}

// list returns the volumes that are mounted, and what is pinned. Mounts are read first: a volume is mounted after its tree is pinned.
func (n *Node) list(ctx context.Context) ([]liveview.Volume, []imagestore.PinnedImage, error) {
	mounts, err := n.mounter.Mounts(ctx)
	if err != nil {
		return nil, nil, err
	}
	pinned, err := n.store.PinnedImages(ctx)
	if err != nil {
		return nil, nil, err
	}
	images := imagesByTree(pinned)
	data, err := n.dataByTarget()
	if err != nil {
		return nil, nil, err
	}
	var out []liveview.Volume
	listed := map[string]bool{} // a target may have several mounts, one above the other
	for _, m := range mounts {
		v, ok := n.volumeOf(m, data)
		if !ok || listed[m.Target] {
			continue
		}
		listed[m.Target] = true
		v.Image, v.Digest = images[v.Tree].Image, images[v.Tree].Digest
		v.Since = n.since(ctx, m.Target)
		v.UsedBytes, v.LimitBytes = n.limitedUse(ctx, m.Target, v.Storage, data[m.Target].dir)
		out = append(out, v)
	}
	return out, pinned, nil
}

func imagesByTree(pinned []imagestore.PinnedImage) map[string]imagestore.PinnedImage {
	out := map[string]imagestore.PinnedImage{}
	for _, p := range pinned {
		out[p.Tree] = p
	}
	return out
}

// volumeData is a directory of the data of a volume.
type volumeData struct {
	dir directory
	identity
}

// dataByTarget returns the data of writable volumes by their targets. What cannot be identified is an orphan's, or gone.
func (n *Node) dataByTarget() (map[string]volumeData, error) {
	found, err := n.data.list()
	if err != nil {
		return nil, err
	}
	out := map[string]volumeData{}
	for _, name := range found.volumes {
		if id, err := n.data.identify(name); err == nil {
			out[id.Target] = volumeData{directory(filepath.Join(n.data.root, name)), id}
		}
	}
	return out, nil
}

// volumeOf returns the volume that a mount is, and whether it is one of the driver's at a pod's target: a volume may also be mounted
// elsewhere, such as for a container's subPath.
func (n *Node) volumeOf(m hostmount.Mount, data map[string]volumeData) (liveview.Volume, bool) {
	pod, ok := n.pods.PodOf(m.Target)
	if !ok || !n.pods.IsTarget(m.Target) {
		return liveview.Volume{}, false
	}
	v := liveview.Volume{Pod: pod, Name: nameOf(m.Target), Form: string(contract.FormOverlay), Access: string(contract.AccessReadOnly), Storage: liveview.StorageImage}
	own, isData := data[m.Target]
	tree, shows := n.treeOf(m)
	switch {
	case shows:
		v.Tree = tree
		if _, _, linked := n.linkedOf(m); linked || m.IsFile() {
			v.Form = string(contract.FormIDMappable)
		}
	case isData && n.isCopy(m):
		v.Tree, v.Form = own.Tree, string(contract.FormIDMappable)
	default:
		return liveview.Volume{}, false
	}
	if !m.ReadOnly {
		v.Access, v.Storage = string(contract.AccessReadWrite), liveview.StorageDisk
		if isData && own.Memory > 0 {
			v.Storage = liveview.StorageMemory
		}
	}
	return v, true
}

// nameOf returns the name of the kubelet's directory of the volume with a target.
func nameOf(target string) string { return filepath.Base(filepath.Dir(target)) }

// since returns when a volume was mounted first. Its target, the one name that the kubelet's directory of the volume gets late, was made
// then, and no restart makes it again.
func (n *Node) since(ctx context.Context, target string) *time.Time {
	made, err := n.mounter.Changed(ctx, filepath.Dir(target))
	if err != nil {
		return nil
	}
	made = made.UTC().Truncate(time.Second)
	return &made
}

// limitedUse returns what a volume uses of its limit; nil if it has none, or the answer would take a count of its files.
func (n *Node) limitedUse(ctx context.Context, target string, storage liveview.Storage, dir directory) (used, limit *int64) {
	switch {
	case storage == liveview.StorageMemory:
		stat, err := n.mounter.Stat(ctx, target)
		if err != nil || stat.Mount == nil {
			return nil, nil
		}
		return &stat.Bytes.Used, &stat.Bytes.Total
	case storage == liveview.StorageDisk && dir != "":
		bytes, _, limited, err := n.mounter.Limited(ctx, dir.work())
		if err != nil || !limited {
			return nil, nil
		}
		return &bytes.Used, &bytes.Total
	default:
		return nil, nil
	}
}

// ListImages returns the trees that the driver has pinned, and those that volumes show without a pin.
func (n *Node) ListImages(ctx context.Context) ([]liveview.Image, error) {
	volumes, pinned, err := n.list(ctx)
	if err != nil {
		return nil, err
	}
	users := map[string][]liveview.User{}
	for _, v := range volumes {
		users[v.Tree] = append(users[v.Tree], liveview.User{Pod: v.Pod, Name: v.Name})
	}
	var out []liveview.Image
	add := func(p imagestore.PinnedImage, pin liveview.PinState) {
		image := liveview.Image{Tree: p.Tree, Image: p.Image, Digest: p.Digest, Pin: pin, Volumes: len(users[p.Tree])}
		image.Users = users[p.Tree][:min(len(users[p.Tree]), liveview.MaxUsers)]
		if size, err := n.sizes.sizeOf(ctx, n.store, p.Tree); err == nil {
			image.SizeBytes = &size.Bytes
		}
		if since, known := n.findings.unusedSince(p.Tree); known && image.Volumes == 0 {
			image.UnusedSince = &since
		}
		out = append(out, image)
	}
	for _, p := range pinned {
		add(p, liveview.PinHeld)
	}
	held := imagesByTree(pinned)
	for tree := range users {
		if _, ok := held[tree]; !ok {
			add(imagestore.PinnedImage{Tree: tree}, liveview.PinMissing)
		}
	}
	return out, nil
}

// ListOrphans returns what the latest sweep found left over of writable volumes.
func (n *Node) ListOrphans() []liveview.Orphan {
	if found := n.findings.orphans.Load(); found != nil {
		return *found
	}
	return nil
}

// leftOver describes the orphans of a sweep, and the directories that it could not identify. It needs the lock of sweeps.
func (n *Node) leftOver(targets map[string]string, unidentified []string, now time.Time) (out []liveview.Orphan) {
	for name := range n.orphans {
		in := int64(n.orphans.Remaining(name, now, n.orphanAfter).Seconds())
		o := liveview.Orphan{Kind: liveview.OrphanData, Name: name, RemovedIn: &in, Message: "its pod is gone; it is removed after a grace period"}
		if target, ok := targets[name]; ok {
			o.Pod, _ = n.pods.PodOf(target)
			o.Volume = nameOf(target)
		}
		out = append(out, o)
	}
	for _, name := range unidentified {
		out = append(out, liveview.Orphan{Kind: liveview.OrphanUnknown, Name: name,
			Message: "its id file cannot be read, so nobody knows whose it is; remove it from " + n.data.root + " if no pod needs it"})
	}
	return out
}
