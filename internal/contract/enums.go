package contract

import (
	"fmt"
	"strings"
)

// The values that a field of the API, a flag of the node plugin and a volume attribute share are defined here, once, and spelt the
// same everywhere. The API's constants are held to them by a test.

// PullPolicy selects when an image is pulled; the names and meanings are those of a container's imagePullPolicy.
type PullPolicy string

const (
	// PullAlways pulls even when the image is present, so that a moved tag is noticed.
	PullAlways PullPolicy = "Always"

	// PullIfNotPresent pulls when the runtime does not hold the image.
	PullIfNotPresent PullPolicy = "IfNotPresent"

	// PullNever refuses an image that the runtime does not hold.
	PullNever PullPolicy = "Never"
)

// Verification selects for which images on the node a caller has to prove its access at the registry. The names and meanings
// are those of the kubelet's imagePullCredentialsVerificationPolicy
// (https://kubernetes.io/docs/reference/config-api/kubelet-config.v1beta1/).
type Verification string

const (
	// NeverVerify asks for no proof.
	NeverVerify Verification = "NeverVerify"

	// NeverVerifyPreloadedImages asks for proof if this driver, or the kubelet, pulled the image with credentials. It is the
	// default, which keeps images that came with the node usable without a network.
	NeverVerifyPreloadedImages Verification = "NeverVerifyPreloadedImages"

	// AlwaysVerify asks for proof for every image, however it came to the node.
	AlwaysVerify Verification = "AlwaysVerify"
)

// LimitFallback selects what happens to a volume with a size limit if the file system of its data has no project quotas.
type LimitFallback string

const (
	// FallbackRefuse refuses to publish it.
	FallbackRefuse LimitFallback = "Refuse"

	// FallbackMemory keeps its data in a file system of that size in the node's memory, where it does not survive a reboot.
	FallbackMemory LimitFallback = "Memory"
)

// Access selects whether pods may write to volumes.
type Access string

const (
	// AccessReadWrite lets a pod write to its volume, unless the volume is read-only.
	AccessReadWrite Access = "ReadWrite"

	// AccessReadOnly refuses volumes that are not read-only.
	AccessReadOnly Access = "ReadOnly"
)

// OtherPlatforms selects what happens to images whose configuration names another platform than the node's (OCI image
// specification, "architecture" and "os"). Runtimes choose by platform only from an index, so they do pull such images.
type OtherPlatforms string

const (
	// OtherPlatformsRefuse refuses to mount them.
	OtherPlatformsRefuse OtherPlatforms = "Refuse"

	// OtherPlatformsMount mounts them like any other.
	OtherPlatformsMount OtherPlatforms = "Mount"
)

// Form selects how a volume shows its image.
type Form string

const (
	// FormOverlay is an overlay of the image's layers. It is the default.
	FormOverlay Form = "Overlay"

	// FormIDMappable is a mount whose users the container runtime can map, as it has to for pods with hostUsers: false. An overlay
	// cannot be mapped (mount_setattr(2), MOUNT_ATTR_IDMAP).
	FormIDMappable Form = "IDMappable"
)

// ImagePinning selects whether volumes have to name their image by digest.
type ImagePinning string

const (
	// PinningOptional does not ask for it.
	PinningOptional ImagePinning = "Optional"

	// PinningDigest does.
	PinningDigest ImagePinning = "Digest"
)

// ImageContent is a kind of file that a driver's administrator may refuse in images: one that gives a process rights.
type ImageContent string

const (
	// ContentSetIDFiles are regular files with the set-user-ID or the set-group-ID bit (execve(2)).
	ContentSetIDFiles ImageContent = "SetIDFiles"

	// ContentFileCapabilities are regular files with capabilities (capabilities(7), "File capabilities").
	ContentFileCapabilities ImageContent = "FileCapabilities"

	// ContentDeviceNodes are character and block devices (mknod(2)).
	ContentDeviceNodes ImageContent = "DeviceNodes"
)

// Parse reads one of some values. Its error names them, and what it got, shortened.
func Parse[E ~string](text string, values ...E) (E, error) {
	names := make([]string, 0, len(values))
	for _, value := range values {
		if text == string(value) {
			return value, nil
		}
		names = append(names, string(value))
	}
	return "", fmt.Errorf("%.64q is not one of %s", text, strings.Join(names, ", "))
}

// ParsePullPolicy reads a pull policy in any case, as manifests for the legacy driver have it.
func ParsePullPolicy(text string) (PullPolicy, error) {
	values := []PullPolicy{PullAlways, PullIfNotPresent, PullNever}
	for _, value := range values {
		if strings.EqualFold(text, string(value)) {
			return value, nil
		}
	}
	return Parse(text, values...)
}
