package containerd

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/image-csi/image-csi-operator/internal/contract"
	"github.com/image-csi/image-csi-operator/internal/nodeplugin/hostmount"
	"github.com/image-csi/image-csi-operator/internal/nodeplugin/pull"
	"github.com/image-csi/image-csi-operator/internal/nodeplugin/volume"
)

// disk is a file system of a test's own, whose writes can be stalled while it is read.
type disk struct{ dir *os.File }

const (
	fiFreeze = 0xc0045877 // FIFREEZE and FITHAW of include/uapi/linux/fs.h
	fiThaw   = 0xc0045878

	// longestFreeze is when a disk resumes without a call, so that a test that is killed leaves no stalled one on the machine.
	longestFreeze = 30 * time.Second
)

// newDisk makes a disk and has t.TempDir, which must not have been called yet, make its directories there.
func newDisk(t *testing.T) disk {
	t.Helper()
	base, err := os.MkdirTemp("", "disk") // short, for there will be sockets
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(base) })
	image, dir := filepath.Join(base, "image"), filepath.Join(base, "d")
	if err := errors.Join(os.WriteFile(image, nil, 0o600), os.Truncate(image, 256<<20), os.Mkdir(dir, 0o700)); err != nil {
		t.Fatal(err)
	}
	for _, command := range [][]string{{"mkfs.ext4", "-q", image}, {"mount", "-o", "loop", image, dir}} {
		out, err := exec.Command(command[0], command[1:]...).CombinedOutput()
		if err != nil && os.Getenv("CI") != "" {
			t.Fatalf("%q: %v: %s", command, err, out)
		}
		if err != nil {
			t.Skipf("%q: %v: %s", command, err, out)
		}
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	d := disk{}
	if d.dir, err = os.Open(dir); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.dir.Close() })
	t.Setenv("TMPDIR", dir)
	return d
}

// freeze has every write to the disk wait until it is thawed, at the latest when the test ends.
func (d disk) freeze(t *testing.T) (thaw func()) {
	t.Helper()
	if err := d.control(fiFreeze); err != nil {
		t.Fatal(err)
	}
	thaw = sync.OnceFunc(func() {
		if err := d.control(fiThaw); err != nil {
			t.Error(err)
		}
	})
	timer := time.AfterFunc(longestFreeze, thaw)
	t.Cleanup(func() { timer.Stop(); thaw() })
	return thaw
}

// freezeIdle is freeze at a moment at which nobody waits for the disk. A collection of containerd's own that was about to write the
// first page of its database would have every reader of the database wait, which is not what a test asks for. read is such a reader.
func (d disk) freezeIdle(t *testing.T, read func(context.Context) error) (thaw func()) {
	t.Helper()
	var err error
	for range 5 {
		thaw = d.freeze(t)
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		err = read(ctx)
		cancel()
		if err == nil {
			return thaw
		}
		thaw()
	}
	t.Fatalf("containerd was writing each time the disk was frozen: %v", err)
	return nil
}

func (d disk) control(command uintptr) error {
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, d.dir.Fd(), command, 0); errno != 0 {
		return errno
	}
	return nil
}

// mountTable is a mount table and nothing behind it.
type mountTable struct {
	volume.Mounter

	mu     sync.Mutex
	mounts map[string]hostmount.Overlay
}

func (m *mountTable) MountOverlay(_ context.Context, o hostmount.Overlay) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.mounts[o.Target] = o
	return nil
}

func (m *mountTable) Mounts(context.Context) (all []hostmount.Mount, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, o := range m.mounts {
		all = append(all, hostmount.Mount{Target: o.Target, Source: o.Source, FSType: "overlay", Root: "/", ReadOnly: true})
	}
	return all, nil
}

// at is what is mounted at a target.
func (m *mountTable) at(target string) (hostmount.Overlay, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	o, mounted := m.mounts[target]
	return o, mounted
}

// imagesPresent are images that are on the node.
type imagesPresent struct{}

func (imagesPresent) Ensure(context.Context, pull.Request) error { return nil }

// containerd goes on with a removal whose caller has gone, so a volume that was mounted meanwhile would lose its layers. A
// file system on a loop device, a start of containerd and waits of three seconds cost five seconds in all.
func TestLateUnpin(t *testing.T) {
	root, err := os.MkdirTemp("", "root")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(root) })
	disk := newDisk(t)
	d := startDaemon(t)
	s, m := d.store(t, driver), &mountTable{mounts: map[string]hostmount.Overlay{}}
	n, err := volume.New(volume.Config{Driver: driver, KubeletRoot: root, Mounter: m, Store: s, Images: imagesPresent{}})
	if err != nil {
		t.Fatal(err)
	}
	within := func(d time.Duration) context.Context {
		ctx, cancel := context.WithTimeout(t.Context(), d)
		t.Cleanup(cancel)
		return ctx
	}
	request := func(id, ref string) volume.Request {
		return volume.Request{VolumeID: id, Target: filepath.Join(root, "pods", id, "volumes/v/mount"), Image: ref, Policy: contract.PullIfNotPresent}
	}
	const unused, used = "registry.example/app:1", "registry.example/tool:1"
	for _, ref := range []string{unused, used} {
		d.load(t, ref, 2)
		for range 2 { // the second time the store knows the pin, and only reads
			pin(t, s, ref)
		}
	}
	if err := n.Publish(within(time.Minute), request("first", used)); err != nil {
		t.Fatal(err)
	}

	thaw := disk.freezeIdle(t, func(ctx context.Context) error {
		_, err := d.client(t).GetImage(ctx, used)
		return err
	})
	if err := n.ReleaseUnused(within(2 * time.Second)); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the sweep: %v", err)
	}
	late := request("late", unused)
	err = n.Publish(within(time.Second), late)
	if _, mounted := m.at(late.Target); !errors.Is(err, context.DeadlineExceeded) || mounted {
		t.Errorf("a publish while its image's pin is removed: %v, mounted: %v", err, mounted)
	}
	if err := n.Publish(within(10*time.Second), request("second", used)); err != nil {
		t.Errorf("a publish of another image meanwhile: %v", err)
	}
	thaw()

	if err := n.Publish(within(20*time.Second), late); err != nil {
		t.Fatal(err)
	}
	removeImage(t, d, unused)
	mounted, _ := m.at(late.Target)
	held := false
	for _, id := range pins(t, s) {
		tree, err := s.Pinned(testContext(t), id)
		held = held || (err == nil && slices.Equal(tree.Layers, mounted.Layers))
	}
	if !held {
		t.Errorf("no pin holds what is mounted, %q", mounted.Layers)
	}
	for _, layer := range mounted.Layers {
		if _, err := os.Stat(layer); err != nil {
			t.Errorf("a layer of a mounted volume: %v", err)
		}
	}
}
