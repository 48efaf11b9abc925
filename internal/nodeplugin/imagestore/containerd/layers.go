package containerd

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/containerd/containerd/v2/core/mount"
	"github.com/opencontainers/go-digest"

	"github.com/image-csi/image-csi-operator/internal/nodeplugin/hostmount"
	"github.com/image-csi/image-csi-operator/internal/nodeplugin/imagestore"
)

// treeOf turns the mounts of a View snapshot into a tree. It does not look at the layers, which are paths of the host. It refuses
// what it does not know, because a wrong guess would show wrong files.
func treeOf(snapshotter string, id digest.Digest, mounts []mount.Mount) (imagestore.Tree, error) {
	tree := imagestore.Tree{ID: id.String()}
	var err error
	if len(mounts) > 0 && mounts[0].Type == "erofs" {
		tree.Form = hostmount.EROFS{}
		tree.Layers, err = layerImages(snapshotter, mounts)
	} else {
		tree.Layers, err = layerDirs(snapshotter, mounts)
	}
	if err != nil {
		return imagestore.Tree{}, err
	}
	if len(tree.Layers) > hostmount.MaxLayers {
		return imagestore.Tree{}, fmt.Errorf("%w: it has %d layers, and the kernel stacks at most %d; flatten the image",
			imagestore.ErrUnsupported, len(tree.Layers), hostmount.MaxLayers)
	}
	for _, layer := range tree.Layers {
		if !path.IsAbs(layer) {
			return imagestore.Tree{}, unsupported(snapshotter, "layer %q, not an absolute path", layer)
		}
	}
	return tree, nil
}

// layerDirs reads the mounts of a snapshotter that keeps directories.
func layerDirs(snapshotter string, mounts []mount.Mount) ([]string, error) {
	if len(mounts) != 1 {
		return nil, unsupported(snapshotter, "%d mounts for one tree", len(mounts))
	}
	switch m := mounts[0]; m.Type {
	case "bind":
		if option := firstUnknown(m.Options, isBindOption); option != "" {
			return nil, unsupported(snapshotter, "bind option %q", option)
		}
		return []string{m.Source}, nil
	case "overlay":
		if option := firstUnknown(m.Options, isOverlayOption); option != "" {
			return nil, unsupported(snapshotter, "overlay option %q", option)
		}
		layers := lowerDirs(m.Options)
		if len(layers) == 0 {
			return nil, unsupported(snapshotter, "an overlay without lower directories")
		}
		return layers, nil
	default:
		return nil, unsupported(snapshotter, "mount type %q", m.Type)
	}
}

// layerImages reads the mounts of a snapshotter that keeps EROFS images: one for each layer, topmost first, and where
// there are several an overlay of all of them, by containerd's mount templates (core/mount/manager there).
func layerImages(snapshotter string, mounts []mount.Mount) ([]string, error) {
	images := mounts
	if last := len(mounts) - 1; last > 0 {
		images = mounts[:last]
		if kind := mounts[last].Type; kind != "format/overlay" && kind != "format/mkdir/overlay" {
			return nil, unsupported(snapshotter, "mount type %q over EROFS images", kind)
		}
		options := mounts[last].Options
		all := fmt.Sprintf("{{ overlay 0 %d }}", last-1)
		if option := firstUnknown(options, isOverlayOption); option != "" || !slices.Equal(lowerDirs(options), []string{all}) {
			return nil, unsupported(snapshotter, "overlay options %q over %d EROFS images", options, last)
		}
	}
	var layers []string
	for _, m := range images {
		// A merged image has devices, and a verified image has a hash tree; neither is a single layer.
		if option := firstUnknown(m.Options, isImageOption); m.Type != "erofs" || option != "" {
			return nil, unsupported(snapshotter, "mount type %q with option %q", m.Type, option)
		}
		layers = append(layers, m.Source)
	}
	return layers, nil
}

func unsupported(snapshotter, format string, args ...any) error {
	return fmt.Errorf("%w: snapshotter %q gives %s, which is no stack of directories or EROFS images", imagestore.ErrUnsupported,
		snapshotter, fmt.Sprintf(format, args...))
}

// lowerDirs returns an overlay's lower directories, topmost first, as its option lists them.
func lowerDirs(options []string) []string {
	for _, option := range options {
		if list, ok := strings.CutPrefix(option, "lowerdir="); ok && list != "" {
			return strings.Split(list, ":")
		}
	}
	return nil
}

func firstUnknown(options []string, known func(string) bool) string {
	for _, option := range options {
		if !known(option) {
			return option
		}
	}
	return ""
}

func isBindOption(option string) bool {
	switch option {
	case "ro", "rw", "bind", "rbind":
		return true
	default:
		return false
	}
}

func isImageOption(option string) bool { return option == "ro" || option == "loop" }

// isOverlayOption reports whether an option leaves the content of the lower directories as it is. Not among them: userxattr,
// which only a containerd in a user namespace gives, and whose opaque directories a plain overlay would not honour;
// upperdir; uidmap and gidmap; and containerd's own X- options.
func isOverlayOption(option string) bool {
	key, _, _ := strings.Cut(option, "=")
	switch key {
	case "lowerdir", "ro", "index", "volatile", "xino", "metacopy", "redirect_dir", "nfs_export":
		return true
	default:
		return false
	}
}
