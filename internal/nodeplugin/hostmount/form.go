package hostmount

import "fmt"

// Form is what the layers of a tree are.
type Form string

const (
	// Directories are layers that lie unpacked on the node, as containerd's overlayfs and native snapshotters and
	// containers/storage keep them.
	Directories Form = ""

	// EROFS are layers that are EROFS images, as containerd's erofs snapshotter keeps them.
	EROFS Form = "erofs"
)

// open shows layers as directories for as long as it takes to make an overlay of them, which holds on to what it needs.
// It runs on a mount thread and may change its working directory.
func (f Form) open(layers []string) (dirs []string, release func(), err error) {
	switch f {
	case Directories:
		return layers, func() {}, nil
	case EROFS:
		return openEROFS(layers)
	default:
		return nil, nil, fmt.Errorf("layers in form %q cannot be mounted", f)
	}
}
