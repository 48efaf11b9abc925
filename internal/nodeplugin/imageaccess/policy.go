package imageaccess

import "github.com/image-csi/image-csi-operator/internal/contract"

// Opens reports whether a caller with a verdict needs no proof under a policy.
func (v Verdict) Opens(policy contract.Verification) bool {
	switch policy {
	case contract.NeverVerify:
		return true
	case contract.AlwaysVerify:
		return v == Proven
	default:
		return v != Unproven
	}
}
