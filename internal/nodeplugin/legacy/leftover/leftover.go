package leftover

import (
	"context"
	"regexp"
	"strings"
	"time"
)

// Leftover is something that the legacy driver keeps in the runtime's store for volumes it published: a snapshot of
// containerd, or a storage container on CRI-O nodes. There is one for each image that is mounted read-only, with its targets,
// and one for each writable volume, with its volume ID.
type Leftover struct {
	Name    string // for the store that listed it, and for messages
	Created time.Time

	// Targets are where it was mounted, as far as the store knows.
	Targets []string

	// VolumeID is the writable volume whose data it is; empty if it holds no data.
	VolumeID string

	// Layers, topmost first, Upper and Work are the directories of a writable one's overlay. Layers is empty where
	// only the legacy driver knows how to mount it.
	Layers      []string
	Upper, Work string
}

// Store is an image store in which the legacy driver may have left something.
type Store interface {
	// Leftovers lists what certainly comes from the legacy driver.
	Leftovers(ctx context.Context) ([]Leftover, error)

	// RemoveLeftover removes one of them with the data in it. Removing what is gone is success. As with
	// imagestore.Store.Unpin, ctx only keeps it from beginning.
	RemoveLeftover(ctx context.Context, name string) error
}

// drivers are the legacy driver's two names. The names and labels of what its releases keep start with either, in any
// combination.
var drivers = [...]string{"csi-image.warm-metal.tech", "container-image.csi.k8s.io"} //nolint:gochecknoglobals // a list that nothing changes

// inlineVolumeID is the form of the IDs that the kubelet gives inline volumes, the only ones that may be writable.
var inlineVolumeID = regexp.MustCompile(`^csi-[0-9a-f]{64}$`)

// Prefixes returns what the names of leftovers start with.
func Prefixes() []string {
	var prefixes []string
	for _, driver := range drivers {
		prefixes = append(prefixes, driver+"-")
	}
	return prefixes
}

// Key reports whether a snapshot or storage container has a name that the legacy driver gives, and returns the writable volume
// that it is for; empty if it is for an image.
func Key(name string) (volumeID string, ok bool) {
	for _, prefix := range Prefixes() {
		if key, ok := strings.CutPrefix(name, prefix); ok && key != "" {
			return inlineVolumeID.FindString(key), true
		}
	}
	return "", false
}

// Target reads a target from a label that the legacy driver puts on a snapshot.
func Target(label string) (target string, ok bool) {
	for _, driver := range drivers {
		if target, ok := strings.CutPrefix(label, driver+"/target|"); ok && target != "" {
			return target, true
		}
	}
	return "", false
}
