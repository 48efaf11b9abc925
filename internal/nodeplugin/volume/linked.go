package volume

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/image-csi/image-csi-operator/internal/nodeplugin/hostmount"
	"github.com/image-csi/image-csi-operator/internal/nodeplugin/imagestore"
	"github.com/image-csi/image-csi-operator/internal/nodeplugin/linktree"
)

const (
	// linkedDir is the directory beside a runtime's layers in which each driver has one for its linked trees.
	linkedDir = "imagecsi"

	// linkTimeout ends the making of one linked tree. It is longer than the largest image takes on a slow disk.
	linkTimeout = 10 * time.Minute

	// treePrefix starts the ID of a tree; 64 hexadecimal digits follow.
	treePrefix = "sha256:"
)

// A linked tree shows an image in the form IDMappable: one directory tree of hard links to the files of the layers, made once for
// each image and node, which volumes bind. It lies beside the layers, because links stay within one mount:
//
//	<store>/imagecsi/<driver>/<tree>                     whole
//	<store>/imagecsi/<driver>/<tree>.new                 being made, or left by a process that was killed
//	<store>/imagecsi/<driver>/<tree>.<random>.removed    no longer a tree, to be removed
//
// So the mount table names the tree of a bind by its root, as it names that of an overlay by its source.
type linkedPlace struct {
	store  string   // the directory of the runtime that holds layers and linked trees
	layers []string // beneath store, topmost first
}

// placeOf returns where an image's linked tree lies. Every runtime names a layer by two names in a directory for all layers, such
// as "snapshots/<id>/fs" and "overlay/<id>/diff"; the store is what holds that directory.
func placeOf(tree imagestore.Tree) (linkedPlace, error) {
	refused := func(reason string) (linkedPlace, error) {
		return linkedPlace{}, fmt.Errorf("%w: %s", hostmount.ErrNotMappable, reason)
	}
	if _, directories := tree.Form.(hostmount.Directories); tree.Form != nil && !directories {
		return refused("its layers are EROFS images, which have no files that can be linked")
	}
	place := linkedPlace{store: path.Dir(path.Dir(path.Dir(tree.Layers[0])))}
	for _, layer := range tree.Layers {
		rel, beneath := strings.CutPrefix(path.Clean(layer), strings.TrimSuffix(place.store, "/")+"/")
		if !beneath {
			return refused("its layers lie in several image stores, and links stay within one")
		}
		place.layers = append(place.layers, rel)
	}
	return place, nil
}

// dirOf is where a driver has a linked tree, beneath the store.
func (n *Node) dirOf(tree string) string {
	return path.Join(linkedDir, n.driver, strings.TrimPrefix(tree, treePrefix))
}

// linkedRoot is the root that the mount table shows of a bind of a linked tree: the driver's name, and the digits of the tree's ID.
// The kernel marks a directory that was removed meanwhile.
var linkedRoot = regexp.MustCompile(`/` + linkedDir + `/([^/]+)/([0-9a-f]{64})(//deleted)?$`)

// linkedOf returns the driver and the tree of a mount that binds a linked tree. It has to be where a kubelet has a CSI volume: a
// pod can name its own directories like ours, and the kubelet binds them elsewhere.
func (n *Node) linkedOf(m hostmount.Mount) (driver, tree string, ok bool) {
	found := linkedRoot.FindStringSubmatch(m.Root)
	if found == nil || !n.pods.IsTarget(m.Target) {
		return "", "", false
	}
	return found[1], treePrefix + found[2], true
}

// link has a linked tree made.
func (n *Node) link(ctx context.Context, place linkedPlace, tree string) error {
	return n.linking.do(ctx, tree, func(ctx context.Context) error {
		return n.inTurn(ctx, n.linking, tree, func() error { return n.makeLinked(ctx, place, tree) })
	})
}

// makeLinked makes a linked tree. The tree's lock also keeps sweeps from its draft.
func (n *Node) makeLinked(ctx context.Context, place linkedPlace, tree string) error {
	store, err := n.mounter.OpenStore(ctx, place.store)
	if err != nil {
		return err
	}
	defer store.Close()
	if made, err := hostmount.OpenDir(store, n.dirOf(tree)); err == nil {
		return made.Close() // since the caller looked
	}
	began := time.Now()
	name := path.Base(n.dirOf(tree))
	dir, draft, err := n.draftLinked(ctx, store, name)
	if err != nil {
		return err
	}
	defer dir.Close()
	defer draft.Close()
	built, err := linktree.Build(ctx, store, place.layers, draft)
	if err == nil {
		err = unix.Renameat(int(dir.Fd()), name+newSuffix, int(dir.Fd()), name)
	}
	if err != nil {
		aside := asideIn(dir, name+newSuffix)
		n.removeSoon()
		return errors.Join(roomIn(place.store, err), aside)
	}
	n.log.Info("made the form of an image whose users can be mapped", "tree", tree, "directories", built.Directories, "links", built.Links,
		"took", time.Since(began).Round(time.Millisecond).String())
	return nil
}

// roomIn names the store that is full.
func roomIn(store string, err error) error {
	return nameFull(store, "the container runtime's images", err)
}

// nameFull adds to an error of a file system that is full which one it is: that of a directory, and what the directory holds.
func nameFull(dir, holds string, err error) error {
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		return fmt.Errorf("the file system of %s, which holds %s, is full; make room there: %w", dir, holds, err)
	}
	return err
}

// draftLinked opens the driver's directory in a store, and makes the draft of a linked tree there, in place of one that was left.
// From here on the store is looked through by sweeps, also by those of the next process.
func (n *Node) draftLinked(ctx context.Context, store *os.File, name string) (dir, draft *os.File, err error) {
	n.placing.Lock()
	defer n.placing.Unlock()
	if err := n.stores.add(store.Name()); err != nil {
		return nil, nil, err
	}
	if dir, err = makeDirs(store, linkedDir, n.driver); err != nil {
		return nil, nil, refusedBy(store.Name(), err)
	}
	err = new(removal).removeDir(ctx, dir, name+newSuffix, 0)
	if err == nil {
		err = unix.Mkdirat(int(dir.Fd()), name+newSuffix, 0o700)
	}
	if err == nil {
		draft, err = hostmount.OpenDir(dir, name+newSuffix)
	}
	if err != nil {
		_ = dir.Close()
		return nil, nil, roomIn(store.Name(), fmt.Errorf("making a directory in %s: %w", store.Name(), err))
	}
	return dir, draft, nil
}

// refusedBy gives the errors of a store in which nothing can be made their type.
func refusedBy(store string, err error) error {
	for _, refusal := range []error{unix.EROFS, unix.EPERM, unix.EACCES} {
		if errors.Is(err, refusal) {
			return fmt.Errorf("%w: the node plugin can make no directory in the image store %s: %v", hostmount.ErrNotMappable, store, err) //nolint:errorlint // the kernel's error has another meaning to callers
		}
	}
	return roomIn(store, fmt.Errorf("making a directory in the image store %s: %w", store, err))
}

// makeDirs opens directories, each in the one before, and makes those that are missing. Another driver may remove an empty one in
// between.
func makeDirs(dir *os.File, names ...string) (*os.File, error) {
	for tries := 0; ; tries++ {
		opened, err := makeDirsOnce(dir, names)
		if !errors.Is(err, unix.ENOENT) || tries == 3 {
			return opened, err
		}
	}
}

func makeDirsOnce(dir *os.File, names []string) (*os.File, error) {
	for i := range names {
		if err := unix.Mkdirat(int(dir.Fd()), path.Join(names[:i+1]...), 0o700); err != nil && !errors.Is(err, unix.EEXIST) {
			return nil, err
		}
	}
	return hostmount.OpenDir(dir, path.Join(names...))
}

// asideIn renames a directory in another one away, wholly or not at all. A missing one is success.
func asideIn(dir *os.File, name string) error {
	err := unix.Renameat(int(dir.Fd()), name, int(dir.Fd()), removedName(name))
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	return err
}

// stores are the directories of runtimes in which there may be linked trees: a link to each in the driver's own directory, because
// only layers tell where they are, and an image may be gone before its linked tree.
type stores struct{ root string }

func (s stores) add(store string) error {
	err := os.Symlink(store, s.link(store))
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("noting where linked trees lie: %w", err)
	}
	return nil
}

func (s stores) remove(store string) error { return removeFile(s.link(store)) }

func (s stores) link(store string) string { return filepath.Join(s.root, directoryName(store, "")) }

func (s stores) list() ([]string, error) {
	entries, err := os.ReadDir(s.root)
	if err != nil {
		return nil, fmt.Errorf("listing where linked trees lie: %w", err)
	}
	var found []string
	for _, entry := range entries {
		store, err := os.Readlink(filepath.Join(s.root, entry.Name()))
		if err != nil {
			return nil, fmt.Errorf("reading where linked trees lie: %w", err)
		}
		found = append(found, store)
	}
	return found, nil
}
