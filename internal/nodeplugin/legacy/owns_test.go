package legacy

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"

	"github.com/image-csi/image-csi-operator/internal/nodeplugin/hostmount"
	"github.com/image-csi/image-csi-operator/internal/nodeplugin/volume"
)

func TestAMountAtTheTargetCountsOnlyIfItMayBeTheVolume(t *testing.T) {
	const snapshot = "/io.containerd.snapshotter.v1.overlayfs/snapshots/12/fs"
	for name, c := range map[string]struct {
		mount   hostmount.Mount
		adopted bool
	}{
		"an overlay":                     {hostmount.Mount{Source: "overlay", FSType: "overlay", Root: "/"}, true},
		"a layer":                        {hostmount.Mount{Source: "/dev/sda1", FSType: "ext4", Root: "/var/lib/containerd" + snapshot}, true},
		"a layer in memory":              {hostmount.Mount{Source: "tmpfs", FSType: "tmpfs", Root: snapshot}, true},
		"a layer that was removed":       {hostmount.Mount{Source: "/dev/sda1", FSType: "xfs", Root: snapshot + "//deleted"}, true},
		"a native snapshot":              {hostmount.Mount{Source: "overlay", FSType: "overlay", Root: "/var/lib/containerd/io.containerd.snapshotter.v1.native/snapshots/7"}, true},
		"a btrfs snapshot":               {hostmount.Mount{Source: "/dev/sda1", FSType: "btrfs", Root: "/io.containerd.snapshotter.v1.btrfs/active/3"}, true},
		"a device":                       {hostmount.Mount{Source: "/dev/mapper/pool-snap-9", FSType: "ext4", Root: "/"}, true},
		"an overlay of a mount program":  {hostmount.Mount{Source: "fuse-overlayfs", FSType: "fuse.fuse-overlayfs", Root: "/"}, true},
		"a file system in memory":        {hostmount.Mount{Source: "tmpfs", FSType: "tmpfs", Root: "/"}, false},
		"a directory of the node":        {hostmount.Mount{Source: "/dev/sda1", FSType: "ext4", Root: "/etc"}, false},
		"this driver under another name": {hostmount.Mount{Source: "imagecsi:other.example@sha256:one", FSType: "overlay", Root: "/"}, true},
	} {
		for _, looked := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, leftovers looked for: %v", name, looked), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w, root := newWorld(), t.TempDir()
					n, r := w.node(t, root), request(t, root, "a", true)
					if looked {
						later(t, n, 0)
					}
					c.mount.Target = r.Target
					w.Mounted[r.Target] = c.mount
					err := n.Publish(t.Context(), r)
					if (c.adopted && err != nil) || (!c.adopted && !errors.Is(err, hostmount.ErrOccupied)) {
						t.Errorf("publish: %v", err)
					}
					if w.Mounted[r.Target] != c.mount {
						t.Error("the mount was replaced")
					}
					if err := n.Unpublish(t.Context(), r.VolumeID, r.Target); err != nil {
						t.Fatal(err)
					}
					later(t, n, volume.DefaultReleaseAfter)
					w.expectNothingLeft(t, n)
				})
			})
		}
	}
}
