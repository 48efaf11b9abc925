package nodes

import (
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// WithoutLinks keeps the node plugin, until the test ends, from making linked trees of images with a file: it gives the directories that
// hold the file in the runtime's store an attribute that only an overlay may read (overlayfs.rst, "opaque"), and that changes nothing of
// what overlays show.
func WithoutLinks(t testing.TB, target *Target, file string) {
	t.Helper()
	const attribute = "trusted.overlay.opaque"
	found := target.Run(t, "find", "/var/lib", "-path", KubeletRoot, "-prune", "-o", "-path", "*"+file, "-print")
	for path := range strings.FieldsSeq(found) {
		dir := filepath.Join(target.Root(), filepath.Dir(path))
		if err := unix.Setxattr(dir, attribute, []byte("x"), 0); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = unix.Removexattr(dir, attribute) })
	}
	if found == "" {
		t.Fatalf("no layer of the node has %s", file)
	}
}
