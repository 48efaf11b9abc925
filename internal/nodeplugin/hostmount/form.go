package hostmount

import (
	"fmt"
	"path"

	"golang.org/x/sys/unix"
)

// Form is what the layers of a tree are.
type Form string

const (
	// Directories are layers that lie unpacked on the node, as containerd's overlayfs and native snapshotters and
	// containers/storage keep them.
	Directories Form = ""

	// EROFS are layers that are EROFS images, as containerd's erofs snapshotter keeps them.
	EROFS Form = "erofs"
)

// open shows layers as directories for as long as it takes to make an overlay of them, which holds on to what it needs.
// It runs on a mount thread and may change its working directory.
func (f Form) open(layers []string) (dirs []string, release func(), err error) {
	switch f {
	case Directories:
		return layers, func() {}, nil
	case EROFS:
		return openEROFS(layers)
	default:
		return nil, nil, fmt.Errorf("layers in form %q cannot be mounted", f)
	}
}

// look opens the layer at rel beneath root, without following any symbolic link, as what it has to be.
func (f Form) look(root int, rel string) error {
	if f == Directories {
		fd, err := openPlain(root, rel)
		if err == nil {
			closeFD(fd)
		}
		return err
	}
	dir, name := path.Split(rel)
	parent, err := openPlain(root, path.Clean(dir))
	if err != nil {
		return err
	}
	defer closeFD(parent)
	var stat unix.Stat_t
	err = unix.Fstatat(parent, name, &stat, unix.AT_SYMLINK_NOFOLLOW)
	if err == nil && stat.Mode&unix.S_IFMT != unix.S_IFREG {
		err = fmt.Errorf("not a file: %w", unix.ELOOP)
	}
	return err
}
