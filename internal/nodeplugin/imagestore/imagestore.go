// Package imagestore turns images that the container runtime holds into read-only trees of layers, pinned against
// garbage collection. Its sub-packages implement Store, one for each runtime.
package imagestore

import (
	"context"
	"errors"
	"strings"

	"github.com/image-csi/image-csi-operator/internal/nodeplugin/hostmount"
)

// Tree is an image's file system as the runtime keeps it: read-only layers.
type Tree struct {
	// ID names the tree: "sha256:" and 64 hexadecimal digits. Images with equal layers have equal trees.
	ID string

	// Layers are the absolute paths of the layers, topmost first, in the mount namespace in which the node plugin
	// mounts. There is at least one. Form is what they are; nil stands for directories.
	Layers []string
	Form   hostmount.Form

	// Digest is that of the manifest or index of the image that was pinned, as the runtime knows it under the reference;
	// empty for a tree that was not pinned by an image's name.
	Digest string
}

// Size is how much all layers of a tree hold together. A file that a higher layer replaces counts in each.
type Size struct {
	Bytes  int64
	Inodes int64 // 0 where the runtime does not count them
}

// PinnedImage is a tree that a driver has pinned, with the reference and the digest of the image for which that was done first. They
// are empty where that is not known: the tree was pinned again by its layers alone, or by an earlier release.
type PinnedImage struct {
	Tree, Image, Digest string
}

// PinFunc pins an image as Store.Pin does, but as it was found, whatever its name stands for by now. It assumes that what
// was pinned then still is: callers make sure that nothing is unpinned in between.
type PinFunc func(ctx context.Context) (Tree, error)

// Store is a container runtime's image store.
type Store interface {
	// Pin returns the tree of an image that the runtime holds under reference (normalised, as
	// "registry.example/repo:tag" or with a digest) and keeps it from garbage collection until Unpin. Pinning a
	// tree that is pinned already writes nothing. Errors: ErrNotFound when the runtime holds no such image,
	// ErrUnsupported when the image or the store cannot be shown as a stack of layers, ErrOtherPlatform.
	Pin(ctx context.Context, reference string) (Tree, error)

	// Find looks for an image that the runtime holds under reference, if that is cheap, and returns the function that pins it,
	// and its digest. It writes nothing. It may miss an image; then it returns nil.
	Find(ctx context.Context, reference string) (pin PinFunc, digest string)

	// Pinned returns a tree that this driver has pinned, whatever happened to the image since. ErrNotFound when
	// the tree is not pinned, or not wholly.
	Pinned(ctx context.Context, treeID string) (Tree, error)

	// Pins lists the IDs of the trees that this driver has pinned.
	Pins(ctx context.Context) ([]string, error)

	// PinnedImages lists the trees that this driver has pinned, each with its image.
	PinnedImages(ctx context.Context) ([]PinnedImage, error)

	// Size returns how much the layers of a pinned tree hold, as the runtime measured them when it unpacked them. Errors:
	// ErrNotFound when the runtime does not have them.
	Size(ctx context.Context, treeID string) (Size, error)

	// Repin pins a tree again that lost its pin while volumes use it, by its layers alone, whatever images there are. It
	// is success if the tree is pinned. ErrNotFound when the runtime no longer holds the layers.
	Repin(ctx context.Context, treeID string) error

	// Unpin lets the runtime collect a tree again. Unpinning a tree that is not pinned is success. If ctx ends
	// first, it does not begin. Once begun, it returns when the runtime has answered or can no longer answer. After an error the
	// tree may be pinned or not, and what was read before is not valid.
	Unpin(ctx context.Context, treeID string) error

	// Collect has the runtime free the disk of what was unpinned, if it would not do so on its own. How long it takes
	// depends on the number of files; when ctx ends, the runtime goes on alone.
	Collect(ctx context.Context) error

	// Close releases the connection to the store. Pins stay.
	Close() error
}

var (
	// ErrNotFound means that the runtime does not hold the image, or the tree.
	ErrNotFound = errors.New("image not found on this node")

	// ErrUnsupported means that the image cannot be mounted: no layers, too many, not a file system, or kept by a
	// snapshotter whose layers are neither directories nor EROFS images.
	ErrUnsupported = errors.New("image cannot be mounted")
)

// Refusal is the error for an image that cannot be mounted, in one sentence that names the image.
type Refusal struct {
	Image  string
	Reason error // wraps ErrUnsupported or ErrOtherPlatform
}

func (r *Refusal) Error() string {
	if reason, ok := strings.CutPrefix(r.Reason.Error(), ErrUnsupported.Error()+": "); ok {
		return "image " + r.Image + " cannot be mounted: " + reason
	}
	return "image " + r.Image + ": " + r.Reason.Error()
}

// Unwrap returns the reason.
func (r *Refusal) Unwrap() error { return r.Reason }

// Refused makes an error about an image a Refusal if it is one.
func Refused(image string, err error) error {
	if errors.Is(err, ErrUnsupported) || errors.Is(err, ErrOtherPlatform) {
		return &Refusal{Image: image, Reason: err}
	}
	return err
}
