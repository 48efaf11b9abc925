package hostmount

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// An engine that mounts in its process's own namespace, as a container with Bidirectional propagation has it. The node's
// mount of the kubelet's root, the container's and the one that only receives are three mounts of one namespace here:
// propagation goes from mount to mount, whatever namespaces they are in.
func TestTheCheckProvesThatMountsReachTheNode(t *testing.T) {
	if os.Getenv(namespaceEnv) != "" {
		t.SkipNow() // engines mount elsewhere
	}
	const shared, private, receiving = unix.MS_SHARED, unix.MS_PRIVATE, unix.MS_SLAVE
	for name, c := range map[string]struct {
		node, container, seen uintptr
		anew                  uintptr // propagation that the container's mount gets last; 0: none
		complaint             string
	}{
		"Bidirectional": {node: shared, container: shared, seen: receiving},
		"HostToContainer in place of Bidirectional": {node: shared, container: receiving, seen: receiving,
			complaint: "give its volumeMount mountPropagation Bidirectional"},
		"None in place of Bidirectional": {node: shared, container: private, seen: receiving,
			complaint: "give its volumeMount mountPropagation Bidirectional"},
		"a node that does not share": {node: private, container: shared, seen: receiving, complaint: "HostToContainer"},
		"shared, but not with the node": {node: shared, container: private, anew: shared, seen: receiving,
			complaint: "does not reach the node"},
		"a view that receives nothing": {node: shared, container: shared, seen: private, complaint: "HostToContainer"},
	} {
		t.Run(name, func(t *testing.T) {
			needMounts(t)
			node := t.TempDir()
			bind(t, node, node, c.node)
			container, seen := t.TempDir(), t.TempDir()
			bind(t, node, container, c.container)
			bind(t, node, seen, c.seen)
			if c.anew != 0 {
				if err := unix.Mount("", container, "", c.anew, ""); err != nil {
					t.Fatal(err)
				}
			}
			e, err := Open(deadline(t), Config{Root: container})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = e.Close() })
			dir := filepath.Join(container, "plugin")
			if err := os.Mkdir(filepath.Join(node, "plugin"), 0o755); err != nil {
				t.Fatal(err)
			}
			for range 2 { // the second one takes the directory of the first
				err = e.Check(deadline(t), dir, filepath.Join(seen, "plugin"))
				if (c.complaint == "" && err != nil) || (c.complaint != "" && (err == nil || !strings.Contains(err.Error(), c.complaint))) {
					t.Errorf("got %v", err)
				}
				if err := onlyAnEmptyProbe(deadline(t), e, dir); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

// bind mounts one directory on another and sets the propagation of the new mount.
func bind(t *testing.T, from, to string, propagation uintptr) {
	t.Helper()
	err := unix.Mount(from, to, "", unix.MS_BIND, "")
	if err == nil {
		t.Cleanup(func() { _ = unix.Unmount(to, unix.MNT_DETACH) })
		err = unix.Mount("", to, "", propagation, "")
	}
	if err != nil {
		t.Fatal(err)
	}
}
