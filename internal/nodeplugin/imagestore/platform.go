package imagestore

import (
	"errors"
	"fmt"
	"runtime"

	"github.com/containerd/platforms"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/image-csi/image-csi-operator/internal/contract"
)

// ErrOtherPlatform says that an image was built for another operating system or architecture than the node's.
var ErrOtherPlatform = errors.New("image is not for this node's operating system and architecture")

// OtherPlatforms says what becomes of images that name another platform than the node's in their configuration (OCI image
// specification, "architecture" and "os"). Runtimes choose by platform from an index only, and bring these.
type OtherPlatforms string

const (
	// RefuseOthers fails with ErrOtherPlatform.
	RefuseOthers OtherPlatforms = contract.OtherPlatformsRefuse

	// MountOthers shows their files.
	MountOthers OtherPlatforms = contract.OtherPlatformsMount
)

// ParseOtherPlatforms reads one of the values.
func ParseOtherPlatforms(text string) (OtherPlatforms, error) {
	switch o := OtherPlatforms(text); o {
	case RefuseOthers, MountOthers:
		return o, nil
	default:
		return "", fmt.Errorf("%q is neither %s nor %s", text, RefuseOthers, MountOthers)
	}
}

// Check returns ErrOtherPlatform, with a sentence, for an image that is refused. One that names no platform is for every
// node. Variants of an architecture do not count: an image for amd64/v3 may hold no program that needs it.
func (o OtherPlatforms) Check(image ocispec.Platform) error {
	if o == MountOthers || image.OS == "" && image.Architecture == "" {
		return nil
	}
	node := ocispec.Platform{OS: runtime.GOOS, Architecture: runtime.GOARCH}
	if image.OS == "" {
		image.OS = node.OS
	}
	if image.Architecture == "" {
		image.Architecture = node.Architecture
	}
	plain := platforms.Normalize(ocispec.Platform{OS: image.OS, Architecture: image.Architecture})
	if platforms.Only(node).Match(plain) {
		return nil
	}
	return fmt.Errorf("%w: it is built for %.32q on %.32q, and the node is %s on %s; push it for that platform, keep the pod off "+
		"such nodes, or have the driver mount such images (spec.volumes.otherPlatforms: %s)",
		ErrOtherPlatform, image.OS, image.Architecture, node.OS, node.Architecture, MountOthers)
}
