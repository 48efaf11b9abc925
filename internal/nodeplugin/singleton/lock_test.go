package singleton

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// holdEnv has the test binary hold the lock on a file until it is killed.
const holdEnv = "IMAGECSI_TEST_HOLD"

func TestMain(m *testing.M) {
	if path := os.Getenv(holdEnv); path != "" {
		lock, err := Acquire(context.Background(), path, "pod first", func(string) {})
		fmt.Println(lock != nil, err)
		select {}
	}
	os.Exit(m.Run())
}

// hold has another process hold the lock.
func hold(t *testing.T, path string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), holdEnv+"="+path)
	out, err := cmd.StdoutPipe()
	if err := errors.Join(err, cmd.Start()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	if said, err := bufio.NewReader(out).ReadString('\n'); err != nil || said != "true <nil>\n" {
		t.Fatalf("the other process says %q, %v", said, err)
	}
	return cmd
}

func TestASecondProcessWaitsForTheEndOfTheFirstHoweverItEnds(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	first := hold(t, path)
	short, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	var holder string
	if _, err := Acquire(short, path, "pod second", func(h string) { holder = h }); !errors.Is(err, context.DeadlineExceeded) || holder != "pod first" {
		t.Fatalf("while the first lives: %v, held by %q", err, holder)
	}
	if err := first.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = first.Wait()
	lock, err := Acquire(t.Context(), path, "pod second", func(string) {})
	if err != nil {
		t.Fatal(err)
	}
	if said, err := os.ReadFile(path); err != nil || string(said) != "pod second\n" {
		t.Errorf("the file says %q, %v", said, err)
	}
	if err := lock.Release(); err != nil {
		t.Error(err)
	}
}

func TestALockOnAFileThatIsNotThereAnyMoreIsNone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	gone, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer gone.Close()
	for _, change := range []func() error{
		func() error { return os.Remove(path) },
		func() error { return os.WriteFile(path, nil, 0o600) },
	} {
		if err := change(); err != nil {
			t.Fatal(err)
		}
		if same, err := isAt(gone, path); same || err != nil {
			t.Errorf("removed, and then replaced: %v, %v", same, err)
		}
	}
	if err := errors.Join(os.RemoveAll(path), os.Symlink("elsewhere", path)); err != nil {
		t.Fatal(err)
	}
	if _, err := Acquire(t.Context(), path, "me", func(string) {}); err == nil {
		t.Error("a link was followed")
	}
}
