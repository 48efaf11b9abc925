package why

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/image-csi/image-csi-operator/internal/cli/document"
	"github.com/image-csi/image-csi-operator/internal/contract"
)

// notes are what is odd about a volume and keeps nothing waiting by itself.
func notes(q question) (found []string) {
	for _, key := range slices.Sorted(maps.Keys(q.volume.Attributes)) {
		// Keys with a slash are Kubernetes' own.
		if !known[key] && !strings.Contains(key, "/") {
			found = append(found, fmt.Sprintf("volume %s: attribute %s is not known to the driver and does nothing; known are image, pullPolicy, pullAlways, "+
				"sizeLimit, form and volumeHandle", q.volume.Name, key))
		}
	}
	if q.volume.Attributes[contract.SecretAttribute] != "" && q.volume.Secret == "" {
		found = append(found, fmt.Sprintf("volume %s: the attribute secret is not read; name the secret in nodePublishSecretRef", q.volume.Name))
	}
	if q.volume.SizeLimit != "" && q.volume.Access == document.ReadOnly {
		found = append(found, fmt.Sprintf("volume %s: sizeLimit does nothing in a read-only volume", q.volume.Name))
	}
	if len(q.pod.Spec.ImagePullSecrets) > 0 && q.volume.Secret == "" && q.volume.State == document.VolumeFailed {
		found = append(found, fmt.Sprintf("volume %s: imagePullSecrets of the pod are not used for volumes", q.volume.Name))
	}
	return found
}
