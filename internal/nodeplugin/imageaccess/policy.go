package imageaccess

import (
	"fmt"

	"github.com/image-csi/image-csi-operator/internal/contract"
)

// Policy selects for which images on the node a caller has to prove its access at the registry. The names and meanings are
// those of the kubelet's imagePullCredentialsVerificationPolicy
// (https://kubernetes.io/docs/reference/config-api/kubelet-config.v1beta1/).
type Policy string

const (
	// NeverVerify asks for no proof.
	NeverVerify Policy = contract.NeverVerify

	// NeverVerifyPreloadedImages asks for proof if this driver, or the kubelet, pulled the image with credentials.
	NeverVerifyPreloadedImages Policy = contract.NeverVerifyPreloadedImages

	// AlwaysVerify asks for proof for every image, however it came to the node.
	AlwaysVerify Policy = contract.AlwaysVerify

	// DefaultPolicy keeps images that came with the node usable without a network.
	DefaultPolicy = NeverVerifyPreloadedImages
)

// ParsePolicy reads a policy by its name.
func ParsePolicy(s string) (Policy, error) {
	for _, p := range []Policy{NeverVerify, NeverVerifyPreloadedImages, AlwaysVerify} {
		if s == string(p) {
			return p, nil
		}
	}
	return "", fmt.Errorf("%.64q is not one of %s, %s, %s", s, NeverVerify, NeverVerifyPreloadedImages, AlwaysVerify)
}

// Open reports whether a caller with this verdict needs no proof.
func (p Policy) Open(v Verdict) bool {
	switch p {
	case NeverVerify:
		return true
	case AlwaysVerify:
		return v == Proven
	default:
		return v != Unproven
	}
}
