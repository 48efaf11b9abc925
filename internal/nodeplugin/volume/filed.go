package volume

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"time"

	"golang.org/x/sync/semaphore"
	"golang.org/x/sys/unix"

	"github.com/image-csi/image-csi-operator/internal/nodeplugin/erofsfile"
	"github.com/image-csi/image-csi-operator/internal/nodeplugin/hostmount"
	"github.com/image-csi/image-csi-operator/internal/nodeplugin/imagestore"
	"github.com/image-csi/image-csi-operator/internal/quantity"
)

// An EROFS file shows an image in the form IDMappable where no linked tree can. It has what an overlay of the layers shows, is made once for
// each image and node, and lies in the driver's own directory:
//
//	<kubelet root>/plugins/<driver>/files/imagecsi:<driver>@<tree>        whole
//	<kubelet root>/plugins/<driver>/files/imagecsi:<driver>@<tree>.new    being made, or left by a process that was killed
//
// A mount's source is the file's name, so the mount table names the tree as it does for an overlay.

const (
	// filesDir is that directory's name.
	filesDir = "files"

	// fileTimeout ends the making of one file. It is longer than the largest image takes on a slow disk.
	fileTimeout = 30 * time.Minute
)

// newFileMaker returns what makes EROFS files, one at a time: the library keeps all names of an image in memory.
func (n *Node) newFileMaker(what string) *maker {
	m := newMaker(n.log, what, fileTimeout)
	m.turns = semaphore.NewWeighted(1)
	return m
}

// fileOf is where a tree's EROFS file lies.
func (n *Node) fileOf(tree string) string { return filepath.Join(n.filesDir, n.source+tree) }

// hasFile reports whether a tree has an EROFS file.
func (n *Node) hasFile(tree string) (bool, error) {
	_, err := os.Lstat(n.fileOf(tree))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// mountFile mounts a tree's EROFS file. A damaged one is removed, so that the next try makes it again.
func (n *Node) mountFile(ctx context.Context, r Request, tree imagestore.Tree) error {
	err := n.mounter.MountFile(ctx, hostmount.File{Path: n.fileOf(tree.ID), Target: r.Target})
	if errors.Is(err, hostmount.ErrBadEROFS) {
		err = errors.Join(err, removeFile(n.fileOf(tree.ID)))
	}
	return err
}

// file has an EROFS file made.
func (n *Node) file(ctx context.Context, tree imagestore.Tree) error {
	return n.filing.do(ctx, tree.ID, func(ctx context.Context) error {
		return n.inTurn(ctx, n.filing, tree.ID, func() error { return n.makeFile(ctx, tree) })
	})
}

// makeFile makes an EROFS file. The tree's lock also keeps sweeps from its draft.
func (n *Node) makeFile(ctx context.Context, tree imagestore.Tree) error {
	if made, err := n.hasFile(tree.ID); made || err != nil {
		return err // since the caller looked
	}
	size, err := n.sizes.sizeOf(ctx, n.store, tree.ID)
	if err != nil {
		return fmt.Errorf("measuring it: %w", err)
	}
	if size.Bytes > erofsfile.MaxBytes {
		return tooLarge(fmt.Errorf("its layers have %s, and a file takes %s at most", quantity.Format(size.Bytes), quantity.Format(erofsfile.MaxBytes)))
	}
	began, draft := time.Now(), n.fileOf(tree.ID)+newSuffix
	written, err := n.writeFile(ctx, tree, draft, size.Bytes)
	if err == nil {
		err = os.Rename(draft, n.fileOf(tree.ID))
	}
	if err != nil {
		return errors.Join(n.fullFiles(err), removeFile(draft))
	}
	n.log.Info("made the form of an image whose users can be mapped", "tree", tree.ID, "directories", written.Directories, "files", written.Files,
		"links", written.Linked, "bytes", written.Bytes, "took", time.Since(began).Round(time.Millisecond).String())
	return nil
}

// writeFile writes the draft of an EROFS file, in place of one that was left. What the node cannot mount is not written.
func (n *Node) writeFile(ctx context.Context, tree imagestore.Tree, draft string, need int64) (written erofsfile.Written, err error) {
	if err := removeFile(draft); err != nil {
		return written, err
	}
	into, err := os.OpenFile(draft, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return written, err
	}
	defer into.Close()
	if err = erofsfile.WriteEmpty(into); err == nil {
		err = n.mounter.Label(into)
	}
	if err == nil {
		err = n.mounter.MountsFiles(ctx, draft)
	}
	if err == nil {
		err = room(into, need)
	}
	if err != nil {
		return written, err
	}
	shown, err := n.openOverlay(ctx, tree)
	if err != nil {
		return written, err
	}
	defer shown.Close()
	written, err = erofsfile.Write(ctx, shown, into)
	debug.FreeOSMemory() // of an image with many files that is a lot, and the next one may be far
	if errors.Is(err, erofsfile.ErrTooLarge) {
		err = tooLarge(err)
	}
	return written, err
}

// tooLarge is the refusal of an image for an EROFS file.
func tooLarge(reason error) error {
	return fmt.Errorf("%w: %w", hostmount.ErrNotMappable, reason)
}

// room returns an error if the file system of a file has less than need bytes free.
func room(file *os.File, need int64) error {
	var fs unix.Statfs_t
	if err := unix.Fstatfs(int(file.Fd()), &fs); err != nil {
		return err
	}
	if free := int64(fs.Bavail) * fs.Frsize; free < need {
		return fmt.Errorf("the image has %s, and %s are free: %w", quantity.Format(need), quantity.Format(free), unix.ENOSPC)
	}
	return nil
}

// fullFiles names the directory of EROFS files, if its file system is full.
func (n *Node) fullFiles(err error) error {
	return nameFull(n.filesDir, "images in the form IDMappable", err)
}

// removeFile removes a file, unless it is gone already.
func removeFile(name string) error {
	if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// sweepFiles removes EROFS files that no volume shows, and drafts of those.
func (n *Node) sweepFiles(ctx context.Context, mounts []hostmount.Mount, now time.Time, after time.Duration) error {
	entries, err := os.ReadDir(n.filesDir)
	if err != nil {
		return fmt.Errorf("listing the EROFS files of images: %w", err)
	}
	var unused []string
	for _, entry := range entries {
		if !isShown(mounts, entry.Name()) {
			unused = append(unused, entry.Name())
		}
	}
	n.idleFiles.Update(unused, now)
	var errs []error
	for _, name := range unused {
		if n.idleFiles.Ripe(name, now, after) {
			errs = append(errs, n.unfile(ctx, name))
		}
	}
	return errors.Join(errs...)
}

// isShown reports whether a mount shows an EROFS file.
func isShown(mounts []hostmount.Mount, name string) bool {
	for _, m := range mounts {
		if m.IsFile() && m.Source == name {
			return true
		}
	}
	return false
}

// unfile removes an EROFS file, or the draft of one, unless a publish is at work on it, or a volume shows it by now.
func (n *Node) unfile(ctx context.Context, name string) error {
	tree := strings.TrimPrefix(strings.TrimSuffix(name, newSuffix), n.source)
	unlock, ok := n.trees.TryLock(tree)
	if !ok {
		return nil
	}
	defer unlock()
	mounts, err := n.mounter.Mounts(ctx)
	if err != nil {
		return fmt.Errorf("reading the mount table: %w", err)
	}
	if isShown(mounts, name) {
		return nil
	}
	if err := removeFile(filepath.Join(n.filesDir, name)); err != nil {
		return fmt.Errorf("removing the EROFS file of an image: %w", err)
	}
	n.idleFiles.Forget(name)
	n.log.Info("removed the form of an image that no volume shows", "tree", tree)
	return nil
}
