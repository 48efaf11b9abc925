package legacy

import (
	"regexp"
	"slices"

	"github.com/image-csi/image-csi-operator/internal/nodeplugin/hostmount"
)

// Owns reports whether the legacy driver makes mounts such as this one. The runtime told it what to mount, so the mount's form
// is the only evidence: the runtime may not answer, and the mount may outlive its snapshot, because the legacy driver released
// snapshots that were in use.
func (v *Volumes) Owns(m hostmount.Mount) bool {
	switch {
	case m.Root != "/":
		return snapshotDir.MatchString(m.Root)
	case m.FSType == "overlay":
		return m.Source == overlaySource
	default:
		return slices.Contains(snapshotTypes[:], m.FSType)
	}
}

// overlaySource is the source string of the legacy driver's overlays.
const overlaySource = "overlay"

// snapshotDir is a directory that is mounted for an image of one layer, or by a snapshotter without overlays: below
// "snapshots" of containerd's overlayfs and native snapshotters, "active" and "view" of its btrfs one, or in the vfs driver
// of CRI-O's storage library. The kernel marks one that was removed meanwhile.
var snapshotDir = regexp.MustCompile(`/(snapshots|active|view)/[0-9]+(/|$)|/vfs/dir/[0-9a-f]{64}(/|$)`)

// snapshotTypes are the file systems that are mounted as a whole, by containerd's devmapper, blockfile, zfs and erofs
// snapshotters and by the mount program of CRI-O's storage library.
var snapshotTypes = [...]string{"ext2", "ext4", "xfs", "zfs", "erofs", "fuse.fuse-overlayfs"} //nolint:gochecknoglobals // a list that nothing changes
