// Package imagelayers changes the layers of images in the stores of nodes' container runtimes.
package imagelayers

import (
	"errors"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// WithoutLinks keeps the node plugin, until the test ends, from making linked trees of images with a file, on the node with a root
// directory: it gives the directories that hold the file in the runtime's store an attribute that only an overlay may read (overlayfs.rst,
// "opaque"), and that changes nothing of what overlays show.
func WithoutLinks(t testing.TB, root, file string) {
	t.Helper()
	const attribute = "trusted.overlay.opaque"
	found := false
	err := filepath.WalkDir(filepath.Join(root, "var/lib"), func(path string, _ fs.DirEntry, err error) error {
		switch {
		case path == filepath.Join(root, "var/lib/kubelet"): // which shows volumes of them
			return fs.SkipDir
		case errors.Is(err, fs.ErrNotExist):
			return nil // it was removed meanwhile
		case err != nil || !strings.HasSuffix(path, file):
			return err
		}
		found = true
		dir := filepath.Dir(path)
		t.Cleanup(func() { _ = unix.Removexattr(dir, attribute) })
		return unix.Setxattr(dir, attribute, []byte("x"), 0)
	})
	if err != nil || !found {
		t.Fatalf("finding the layers of the node that have %s: found %v, %v", file, found, err)
	}
}
