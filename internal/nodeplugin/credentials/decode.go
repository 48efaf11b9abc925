package credentials

import (
	"encoding/base64"
	"strings"

	"github.com/docker/cli/cli/config/types"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// dockerHub is the host under which image references name Docker Hub.
const dockerHub = "docker.io"

// splitRegistry turns a key of a Docker configuration ("https://index.docker.io/v1/", "registry.example:5000/team")
// into the host and the path as image references spell them.
func splitRegistry(key string) (host, path string) {
	rest := strings.TrimSpace(key)
	if _, after, ok := strings.Cut(rest, "://"); ok {
		rest = after
	}
	host, path, _ = strings.Cut(rest, "/")
	host = strings.ToLower(host)

	// "/v1/" and "/v2/" are the registry's API, not a part of the repository's name.
	for _, api := range []string{"v1/", "v2/"} {
		if after, ok := strings.CutPrefix(path, api); ok {
			path = after
			break
		}
	}
	path = strings.Trim(path, "/")

	switch host {
	case "index.docker.io", "registry-1.docker.io":
		host = dockerHub
	}
	return host, path
}

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
