package containerd

import (
	"fmt"
	"path"
	"strings"

	"github.com/containerd/containerd/v2/core/mount"

	"github.com/image-csi/image-csi-operator/internal/nodeplugin/imagestore"
)

// layerDirs turns the mounts of a View snapshot into layer directories, topmost first. It looks at none of them: they
// are paths of the host. What it does not know it refuses, since a wrong guess would show wrong files.
func layerDirs(snapshotter string, mounts []mount.Mount) ([]string, error) {
	if len(mounts) != 1 {
		return nil, unsupported(snapshotter, "%d mounts for one tree", len(mounts))
	}
	var layers []string
	switch m := mounts[0]; m.Type {
	case "bind":
		if option := firstUnknown(m.Options, isBindOption); option != "" {
			return nil, unsupported(snapshotter, "bind option %q", option)
		}
		layers = []string{m.Source}
	case "overlay":
		if option := firstUnknown(m.Options, isOverlayOption); option != "" {
			return nil, unsupported(snapshotter, "overlay option %q", option)
		}
		layers = lowerDirs(m.Options)
	default:
		return nil, unsupported(snapshotter, "mount type %q", m.Type)
	}
	switch {
	case len(layers) == 0:
		return nil, unsupported(snapshotter, "an overlay without lower directories")
	case len(layers) > imagestore.MaxLayers:
		return nil, fmt.Errorf("%w: it has %d layers, and the kernel stacks at most %d; flatten the image",
			imagestore.ErrUnsupported, len(layers), imagestore.MaxLayers)
	}
	for _, layer := range layers {
		if !path.IsAbs(layer) {
			return nil, unsupported(snapshotter, "layer %q, not an absolute path", layer)
		}
	}
	return layers, nil
}

func unsupported(snapshotter, format string, args ...any) error {
	return fmt.Errorf("%w: snapshotter %q gives %s, which is not a stack of directories", imagestore.ErrUnsupported,
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

// isOverlayOption knows the options that leave the lower directories' content as it is. Not among them: userxattr,
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
