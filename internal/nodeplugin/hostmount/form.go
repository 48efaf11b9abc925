package hostmount

import (
	"fmt"
	"path"

	"golang.org/x/sys/unix"
)

// Form is what the layers of a tree are: Directories, or EROFS images. A form is one type, in a file of its own with the system
// calls that it needs. nil stands for Directories.
type Form interface {
	// open shows layers as directories for as long as it takes to make an overlay of them, which holds on to what it needs.
	// It runs on a mount thread and may change its working directory.
	open(layers []string) (dirs []string, release func(), err error)

	// look opens the layer at rel beneath root, without following any symbolic link, as what it has to be.
	look(root int, rel string) error

	// refused gives the error of a kernel that takes no overlay of such layers its type.
	refused(err error) error
}

func formOf(f Form) Form {
	if f == nil {
		return Directories{}
	}
	return f
}

// Directories are layers that lie unpacked on the node, as containerd's overlayfs and native snapshotters and
// containers/storage keep them.
type Directories struct{}

func (Directories) open(layers []string) (dirs []string, release func(), err error) {
	return layers, func() {}, nil
}

func (Directories) look(root int, rel string) error {
	fd, err := openPlain(root, rel)
	if err == nil {
		closeFD(fd)
	}
	return err
}

func (Directories) refused(err error) error { return err }

// lookFile is the look of forms whose layers are files.
func lookFile(root int, rel string) error {
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
