package imagestore

import (
	"cmp"
	"errors"
	"fmt"
	"runtime"

	"github.com/containerd/platforms"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/image-csi/image-csi-operator/internal/contract"
)

// ErrOtherPlatform means that an image was built for another operating system or architecture than the node's.
var ErrOtherPlatform = errors.New("image is not for this node's operating system and architecture")

// CheckPlatform returns ErrOtherPlatform, with a sentence, for an image that is refused. An image that names no platform is for every
// node. Variants of an architecture do not count: an image for amd64/v3 may hold no program that needs it.
func CheckPlatform(others contract.OtherPlatforms, image ocispec.Platform) error {
	node := ocispec.Platform{OS: runtime.GOOS, Architecture: runtime.GOARCH}
	built := ocispec.Platform{OS: cmp.Or(image.OS, node.OS), Architecture: cmp.Or(image.Architecture, node.Architecture)}
	if others == contract.OtherPlatformsMount || platforms.Only(node).Match(built) {
		return nil
	}
	return fmt.Errorf("%w: it is built for %.32q on %.32q, and the node is %s on %s; push it for that platform, keep the pod off "+
		"such nodes, or have the driver mount such images (spec.volumes.otherPlatforms: %s)",
		ErrOtherPlatform, built.OS, built.Architecture, node.OS, node.Architecture, contract.OtherPlatformsMount)
}
