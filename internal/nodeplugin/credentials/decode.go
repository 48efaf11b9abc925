package credentials

import (
	"encoding/base64"
	"strings"

	"github.com/docker/cli/cli/config/types"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// toCRI decodes one entry; nil when the entry holds no credential. The server address stays empty, as the kubelet
// leaves it: containerd compares it with the host it talks to, which differs where a mirror is configured.
func toCRI(auth types.AuthConfig) (*runtimeapi.AuthConfig, error) {
	user, password := auth.Username, auth.Password
	if auth.Auth != "" {
		var err error
		if user, password, err = decodeAuth(auth.Auth); err != nil {
			return nil, err
		}
	}
	if user == "" && password == "" && auth.IdentityToken == "" && auth.RegistryToken == "" {
		return nil, nil
	}
	return &runtimeapi.AuthConfig{
		Username:      user,
		Password:      password,
		IdentityToken: auth.IdentityToken,
		RegistryToken: auth.RegistryToken,
	}, nil
}

// decodeAuth reads base64("user:password"), with padding or without.
func decodeAuth(encoded string) (user, password string, err error) {
	encoded = strings.TrimRight(strings.TrimSpace(encoded), "=")
	decoded, err := base64.RawStdEncoding.DecodeString(encoded)
	if err != nil {
		return "", "", errNotUserPassword
	}
	user, password, ok := strings.Cut(string(decoded), ":")
	if !ok {
		return "", "", errNotUserPassword
	}
	return user, strings.Trim(password, "\x00"), nil
}
