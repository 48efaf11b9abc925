package why

import (
	"github.com/image-csi/image-csi-operator/internal/contract"
)

// openImage returns what to do about an image that a registry does not give out: who names no secret needs one, and who does has one
// that the registry refuses.
func openImage(q question) []string {
	if q.volume.Secret == "" {
		return []string{createSecret, edit, nameSecret}
	}
	return []string{"kubectl -n {ns} delete secret {secret}   (the registry refuses it, or it is for another one)", createSecret}
}

// known are the attributes that the driver reads; others do nothing.
var known = map[string]bool{ //nolint:gochecknoglobals // a table that nothing changes
	contract.ImageAttribute: true, contract.VolumeHandleAttribute: true, contract.PullPolicyAttribute: true, contract.PullAlwaysAttribute: true,
	contract.SizeLimitAttribute: true, contract.FormAttribute: true, contract.SecretAttribute: true, contract.SecretNamespaceAttribute: true,
}
