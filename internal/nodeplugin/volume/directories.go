package volume

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/image-csi/image-csi-operator/internal/contract"
	"github.com/image-csi/image-csi-operator/internal/nodeplugin/hostmount"
)

// directories are the data of the writable volumes, one directory for each:
//
//	<root>/<name>/id      which volume it is, for the sweep and for administrators
//	<root>/<name>/upper   what the pod wrote
//	<root>/<name>/work    the kernel's
//	<root>/<name>/memory  instead of both, where the volume is in memory: empty but for the moment of the mount
//
// A volume in the form IDMappable has a copy of its image in upper, and nothing in work, which its limit is read from.
//
// A directory gets its name when it is complete and loses it before it is removed, so whatever has its name is whole.
type directories struct{ root string }

const (
	dataDir   = "volumes" // holds the directories of a driver's volumes
	idFile    = "id"
	upperDir  = "upper"
	memoryDir = "memory"

	// Names of directories that are not, or no longer, a volume's.
	newSuffix     = ".new"
	removedSuffix = ".removed"
)

// directory is the data of one writable volume.
type directory string

func (d directory) upper() string { return filepath.Join(string(d), upperDir) }
func (d directory) work() string  { return filepath.Join(string(d), "work") }

func (d directory) memory() string { return filepath.Join(string(d), memoryDir) }

// inMemory reports whether what the pod writes is kept in memory.
func (d directory) inMemory() bool {
	_, err := os.Lstat(d.memory())
	return err == nil
}

// identity is what the id file holds.
type identity struct {
	VolumeID string `json:"volumeID"`
	Target   string `json:"target"`
	Pod      string `json:"pod,omitempty"`
	Tree     string `json:"tree"` // the image tree that the data lies on top of

	// Form is FormIDMappable for a volume whose directory is a copy of its image, and empty for one that lies on top of it.
	Form contract.Form `json:"form,omitempty"`

	// Memory is the size limit, in bytes, that a volume in memory was made with; 0 for one on disk.
	Memory int64 `json:"memory,omitempty"`
}

// directoryName derives a name from what identifies a volume on a node. The target is part of it: the
// kubelet takes volume IDs of PersistentVolumes from their authors, who must not name another pod's data.
func directoryName(volumeID, target string) string {
	sum := sha256.Sum256([]byte(volumeID + "\x00" + target))
	return hex.EncodeToString(sum[:])
}

// directory returns a volume's directory, whether it exists or not.
func (d directories) directory(volumeID, target string) directory {
	return directory(filepath.Join(d.root, directoryName(volumeID, target)))
}

// find returns the directory and identity of a volume that the pod had already. The error is fs.ErrNotExist if there is
// none; the directory's name is returned then, too.
func (d directories) find(r Request, tree string) (directory, identity, error) {
	dir := d.directory(r.VolumeID, r.Target)
	id, err := d.identify(filepath.Base(string(dir)))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return dir, id, err
	case err != nil:
		return "", id, err
	case id.Tree != tree:
		return "", id, fmt.Errorf("%w: it was made from %s and image %s is %s now; delete the pod to start afresh",
			ErrImageChanged, id.Tree, r.Image, tree)
	case (id.Form == contract.FormIDMappable) != (r.Form == contract.FormIDMappable):
		return "", id, fmt.Errorf("%w: it was made with another value of volume attribute %s; delete the pod to start afresh",
			ErrOtherAccess, contract.FormAttribute)
	}
	return dir, id, nil
}

// populate makes the directory and everything in it.
func (d directory) populate(id identity, root hostmount.Attributes) error {
	paths := []string{string(d), d.upper(), d.work()}
	if id.Memory > 0 {
		paths = []string{string(d), d.memory()}
	}
	for _, path := range paths {
		if err := os.Mkdir(path, 0o700); err != nil {
			return fmt.Errorf("making the directory of a writable volume: %w", err)
		}
	}
	if id.Memory == 0 {
		if err := chown(d.upper(), root); err != nil {
			return fmt.Errorf("giving a writable volume its image's owner: %w", err)
		}
	}
	if err := writeIdentity(filepath.Join(string(d), idFile), id); err != nil {
		return fmt.Errorf("naming the directory of a writable volume: %w", err)
	}
	return nil
}

// chown sets a directory's owner and then its mode, because a change of the owner clears bits of the mode.
func chown(path string, a hostmount.Attributes) error {
	if err := os.Chown(path, int(a.UID), int(a.GID)); err != nil {
		return err
	}
	return syscall.Chmod(path, a.Mode)
}

// writeIdentity writes the file to the disk itself: after a power cut it is there or the directory is not.
func writeIdentity(path string, id identity) error {
	data, err := json.Marshal(id)
	if err != nil {
		return err
	}
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = file.Write(data)
	return errors.Join(err, file.Sync(), file.Close())
}

// identify reads which volume a directory belongs to. The error is fs.ErrNotExist only where there is no directory.
func (d directories) identify(name string) (identity, error) {
	path := filepath.Join(d.root, name)
	data, err := os.ReadFile(filepath.Join(path, idFile))
	if err != nil {
		if _, gone := os.Lstat(path); errors.Is(gone, fs.ErrNotExist) {
			return identity{}, gone
		}
		return identity{}, fmt.Errorf("the directory %s of a writable volume cannot be identified: %v", path, err) //nolint:errorlint // not fs.ErrNotExist: the directory exists
	}
	var id identity
	if err := json.Unmarshal(data, &id); err != nil {
		return identity{}, fmt.Errorf("the id file in %s is damaged: %w", path, err)
	}
	return id, nil
}

// trees lists the trees on which the data of writable volumes lies. The error names directories that cannot be identified.
func (d directories) trees() ([]string, error) {
	found, err := d.list()
	errs := []error{err}
	var trees []string
	for _, name := range found.volumes {
		id, err := d.identify(name)
		switch {
		case err == nil:
			trees = append(trees, id.Tree)
		case !errors.Is(err, fs.ErrNotExist): // it may have been unpublished this moment
			errs = append(errs, err)
		}
	}
	return trees, errors.Join(errs...)
}

// renameAway renames a directory away, wholly or not at all, and reports whether it was there.
func (d directories) renameAway(name string) (bool, error) {
	err := os.Rename(filepath.Join(d.root, name), filepath.Join(d.root, removedName(name)))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// removedName is a name for what loses its own.
func removedName(name string) string { return name + "." + rand.Text() + removedSuffix }

// names are those of the directories, by what they are.
type names struct {
	volumes, drafts, aside []string
}

func (d directories) list() (names, error) {
	entries, err := os.ReadDir(d.root)
	if err != nil {
		return names{}, fmt.Errorf("listing the directories of writable volumes: %w", err)
	}
	var found names
	for _, e := range entries {
		switch name := e.Name(); {
		case strings.HasSuffix(name, newSuffix):
			found.drafts = append(found.drafts, name)
		case strings.HasSuffix(name, removedSuffix):
			found.aside = append(found.aside, name)
		default:
			found.volumes = append(found.volumes, name)
		}
	}
	return found, nil
}
