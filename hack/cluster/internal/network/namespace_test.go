package network

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// inPrivateMounts marks the process that has a mount namespace of its own.
const inPrivateMounts = "IMAGECSI_TEST_PRIVATE_MOUNTS"

// TestANamespaceGoesAfterSomebodyElseAddedOne does to /run/netns what the first `ip netns add` on a machine does: bind it
// on itself with everything below, shared. It runs in a mount namespace of its own, whose /run is empty.
func TestANamespaceGoesAfterSomebodyElseAddedOne(t *testing.T) {
	if os.Getuid() != 0 {
		if os.Getenv("CI") != "" {
			t.Fatal("needs root, to mount")
		}
		t.Skip("needs root, to mount")
	}
	if os.Getenv(inPrivateMounts) == "" {
		again := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
		again.Env = append(os.Environ(), inPrivateMounts+"=1")
		again.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
		if out, err := again.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return
	}
	if err := unix.Mount("tmpfs", "/run", "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	const name = "imagecsi-test-somebody"
	if err := Ensure(name); err != nil {
		t.Fatal(err)
	}
	const shared = "/run/netns"
	if err := os.MkdirAll(shared, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount(shared, shared, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("", shared, "", unix.MS_SHARED|unix.MS_REC, ""); err != nil {
		t.Fatal(err)
	}
	if !Exists(name) {
		t.Fatal("the namespace is not there any more")
	}
	if err := Remove(name); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path(name)); !errors.Is(err, fs.ErrNotExist) || Exists(name) {
		t.Fatalf("the namespace is still there: %v", err)
	}
	if err := Ensure(name); err != nil {
		t.Fatal("the namespace cannot be made again:", err)
	}
}
