package volume

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/image-csi/image-csi-operator/internal/nodeplugin/hostmount"
)

// A pod whose container restarts after the volume has lost its mount writes to the directory below.
func TestFilesInADirectoryWithoutItsMountAreKeptAndThePodEnds(t *testing.T) {
	for _, writable := range []bool{false, true} {
		w, root := newWorld(), t.TempDir()
		n, r := w.node(t, root), request(t, root, "uid-1", writable)
		if err := n.Publish(t.Context(), r); err != nil {
			t.Fatal(err)
		}
		delete(w.Mounted, r.Target)
		if err := errors.Join(os.MkdirAll(r.Target, 0o755), os.WriteFile(filepath.Join(r.Target, "file"), []byte("mine"), 0o600)); err != nil {
			t.Fatal(err)
		}

		// First they cannot be moved.
		w.Faults["move"] = 1
		err := n.Unpublish(t.Context(), r.VolumeID, r.Target)
		if !errors.Is(err, hostmount.ErrNotEmpty) || !strings.Contains(err.Error(), r.Target) || !strings.Contains(err.Error(), "move them away") {
			t.Errorf("got %v", err)
		}
		if _, err := os.Stat(filepath.Join(r.Target, "file")); err != nil || writable != n.data.exists(r) {
			t.Errorf("after a failure: %v, data %v", err, n.data.exists(r))
		}

		for range 2 {
			if err := n.Unpublish(t.Context(), r.VolumeID, r.Target); err != nil {
				t.Fatal(err)
			}
		}
		wantGone(t, r.Target)
		kept, err := filepath.Glob(filepath.Join(n.keptDir, "uid-1.*", "file"))
		if err != nil || len(kept) != 1 {
			t.Fatalf("kept %q, %v", kept, err)
		}
		if content, err := os.ReadFile(kept[0]); err != nil || string(content) != "mine" {
			t.Errorf("kept %q, %v", content, err)
		}
		later(t, n, DefaultReleaseAfter)
		w.expectNothingLeft(t, n)
	}
}
