package legacy

import "github.com/image-csi/image-csi-operator/internal/contract"

// UnreadSecret returns a hint for users who name a volume's secret by attributes, as samples of the legacy driver do; empty for
// all others. That driver's releases since v0.5.1 do not read them either: a driver may not read the secrets of every namespace.
func UnreadSecret(attributes map[string]string) (hint string) {
	if attributes[contract.SecretAttribute] == "" && attributes[contract.SecretNamespaceAttribute] == "" {
		return ""
	}
	return "the volume attributes " + contract.SecretAttribute + " and " + contract.SecretNamespaceAttribute +
		" are not read; name the secret in nodePublishSecretRef"
}
