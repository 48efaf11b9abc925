package exclusive

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// TestASecondRunWaits has the second run keep its temporary files elsewhere, as one in a container does.
func TestASecondRunWaits(t *testing.T) {
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	t.Setenv("TMPDIR", t.TempDir())
	unlock, err := Cluster(t.Context(), "turns")
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("TMPDIR", t.TempDir())
	path, err := lockFile("turns")
	if err != nil {
		t.Fatal(err)
	}
	second, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close()
	tryLock := func() error { return unix.Flock(int(second.Fd()), unix.LOCK_EX|unix.LOCK_NB) }
	if err := tryLock(); !errors.Is(err, unix.EWOULDBLOCK) {
		t.Errorf("lock while the first run has the cluster: %v, want %v", err, unix.EWOULDBLOCK)
	}
	unlock()
	if err := tryLock(); err != nil {
		t.Errorf("lock after the first run: %v", err)
	}
}

// TestWhatAKilledRunHasLeftIsTakenDown leaves the record of a cluster without nodes whose processes are gone.
func TestWhatAKilledRunHasLeftIsTakenDown(t *testing.T) {
	cache := t.TempDir()
	t.Setenv("XDG_CACHE_HOME", cache)
	state := filepath.Join(cache, "image-csi-operator", "clusters", "killed")
	if err := os.MkdirAll(state, 0o755); err != nil {
		t.Fatal(err)
	}
	record := `{"name": "killed", "controlPlane": "none", "loopback": true}`
	if err := os.WriteFile(filepath.Join(state, "cluster.json"), []byte(record), 0o644); err != nil {
		t.Fatal(err)
	}
	unlock, err := Cluster(t.Context(), "killed")
	if err != nil {
		t.Fatal(err)
	}
	defer unlock()
	if _, err := os.Stat(state); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("what the killed run left: %v, want it to be gone", err)
	}
}
