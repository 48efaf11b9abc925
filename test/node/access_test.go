package node

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/image-csi/image-csi-operator/internal/contract"
	"github.com/image-csi/image-csi-operator/internal/privileges"
	"github.com/image-csi/image-csi-operator/test/internal/nodes"
)

// A driver becomes read-only while a pod writes to its volume. (2 s)
func TestAReadOnlyDriverHasFewerCapabilitiesAndTakesNoVolumeFromAPod(t *testing.T) {
	suite.OnEveryNode(t, func(t *testing.T, p *nodes.Plugin) {
		p.Register(t)
		writable := nodes.Volume{ID: "writable", Image: nodes.Numbered(2), Inline: true}
		file := filepath.Join(p.MustPublish(t, writable), "mine")
		if err := os.WriteFile(file, []byte("before"), 0o600); err != nil {
			t.Fatal(err)
		}
		p.Stop(t, syscall.SIGTERM)
		p.Flags = append(p.Flags, "--"+contract.FlagAccess+"="+string(contract.AccessReadOnly))
		p.Start(t)
		p.Register(t)

		kept := privileges.Bits(privileges.Serving(contract.AccessReadOnly))
		for _, thread := range threadsOf(t, p) {
			if text := nodes.Read(t, thread, "status"); !strings.Contains(text, fmt.Sprintf("CapEff:\t%016x\n", kept)) {
				t.Errorf("%s has not the capabilities of read-only volumes: %s", thread, text)
			}
		}

		p.MustPublish(t, writable) // again, as after a restart of the kubelet
		if err := os.WriteFile(file, []byte("after"), 0o600); err != nil {
			t.Errorf("the pod that had a writable volume: %v", err)
		}
		_, err := p.Publish(t, nodes.Volume{ID: "another", Image: nodes.Numbered(2), Inline: true})
		if status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), "readOnly: true") {
			t.Errorf("another writable volume: %v", err)
		}
		readOnly := p.MustPublish(t, nodes.Volume{ID: "read-only", Image: nodes.Numbered(2), Inline: true, ReadOnly: true})
		if got := nodes.Read(t, readOnly, "top"); got != "1\n" {
			t.Errorf("the read-only volume holds %q", got)
		}
		// Directories of others than root, which a linked tree cannot have here, are in a file, on kernels that mount some.
		mappedAt, err := p.Publish(t, mappable("mapped", mixed, true))
		switch {
		case status.Code(err) == codes.FailedPrecondition && strings.Contains(err.Error(), "CHOWN") && strings.Contains(err.Error(), "Linux 6.12 or newer"):
			t.Log("this kernel mounts no files: ", err)
		case err != nil:
			t.Errorf("a volume that can be mapped: %v", err)
		default:
			if owner := statOf(t, filepath.Join(mappedAt, "home", mixedFile)).Uid; owner != 1000 {
				t.Errorf("a file of user 1000 is of user %d", owner)
			}
		}
		p.Unpublish(t, "mapped")
		p.Unpublish(t, "another") // which a kubelet does for a pod that never started
		p.Unpublish(t, "read-only")
		p.Unpublish(t, writable.ID)
		if left := p.Mounts(t); len(left) != 0 {
			t.Errorf("mounts are left: %q", left)
		}
	})
}

// A class drops all capabilities that it may. (1 s)
func TestADriverThatDropsCapabilitiesRefusesPodsWhatTheyAreFor(t *testing.T) {
	suite.OnEveryNode(t, func(t *testing.T, p *nodes.Plugin) {
		p.Stop(t, syscall.SIGTERM)
		p.Target, p.Dropped = p.Target.In(contract.ModeNsenter), privileges.Droppable()
		p.Flags = append(p.Flags, "--"+contract.FlagConfinement+"=container=Unprivileged;dropped=FSETID,MKNOD,SETFCAP")
		p.Start(t)
		p.Register(t)
		kept := privileges.Bits(privileges.Serving(contract.AccessReadWrite, privileges.Droppable()...))
		for _, thread := range threadsOf(t, p) {
			if text := nodes.Read(t, thread, "status"); !strings.Contains(text, fmt.Sprintf("CapEff:\t%016x\n", kept)) {
				t.Errorf("%s has other capabilities than %x: %s", thread, kept, text)
			}
		}

		target := p.MustPublish(t, nodes.Volume{ID: "writable", Image: nodes.Numbered(2), Inline: true})
		file := filepath.Join(target, "top")
		err := errors.Join(os.WriteFile(file, []byte("mine"), 0o600), os.Chown(file, 1000, 1000), os.Chmod(file, 0o640),
			os.Mkdir(filepath.Join(target, "new"), 0o755), os.Rename(file, filepath.Join(target, "new/top")), os.RemoveAll(filepath.Join(target, "new")))
		if err != nil {
			t.Errorf("what every pod does: %v", err)
		}
		if err := os.WriteFile(file, nil, 0o755); err != nil {
			t.Fatal(err)
		}
		capability := []byte("\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00") // NET_RAW
		if err := unix.Setxattr(file, "security.capability", capability, 0); !errors.Is(err, unix.EPERM) {
			t.Errorf("to set capabilities of a file: %v", err)
		}
		if err := unix.Mknod(filepath.Join(target, "null"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))); !errors.Is(err, unix.EPERM) {
			t.Errorf("to make a device node: %v", err)
		}
		p.Unpublish(t, "writable")
	})
}

// threadsOf returns the directories in /proc of the plugin's threads.
func threadsOf(t *testing.T, p *nodes.Plugin) []string {
	t.Helper()
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*", p.PID(t)))
	if err != nil || len(threads) == 0 {
		t.Fatalf("%d threads: %v", len(threads), err)
	}
	return threads
}
