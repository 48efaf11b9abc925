package server

import (
	"errors"
	"fmt"

	"google.golang.org/grpc/codes"

	"github.com/image-csi/image-csi-operator/internal/contract"
	"github.com/image-csi/image-csi-operator/internal/nodeplugin/imagerules"
)

// unreadSecret is the hint for users who name a volume's secret by attributes, as samples of the legacy driver do. Its
// releases since v0.5.1 do not read them either: a driver may not read the secrets of every namespace.
const unreadSecret = "the volume attributes " + contract.SecretAttribute + " and " + contract.SecretNamespaceAttribute +
	" are not read; name the secret in nodePublishSecretRef"

func namesUnreadSecret(attributes map[string]string) bool {
	return attributes[contract.SecretAttribute] != "" || attributes[contract.SecretNamespaceAttribute] != ""
}

// withUnreadSecret adds to a refusal what may be its reason.
func withUnreadSecret(err error, attributes map[string]string) error {
	if !namesUnreadSecret(attributes) || codeOf(err) != codes.PermissionDenied || errors.Is(err, imagerules.ErrRefused) {
		return err
	}
	return fmt.Errorf("%w; %s", err, unreadSecret)
}
