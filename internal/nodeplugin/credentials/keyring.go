package credentials

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/distribution/reference"
	"github.com/docker/cli/cli/config/types"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// Keys of the two kinds of Docker credential secrets.
// See https://kubernetes.io/docs/concepts/configuration/secret/#docker-config-secrets.
const (
	dockerConfigJSONKey = ".dockerconfigjson"
	dockerConfigKey     = ".dockercfg"
)

// maxSecretBytes bounds what is parsed. The API server does not store larger secrets.
const maxSecretBytes = 1 << 20

// volumeSecret is what errors call a volume's own secret.
const volumeSecret = "the secret of nodePublishSecretRef"

// Keyring holds the entries of secrets. The zero value holds none.
type Keyring struct {
	entries []entry
}

// entry is one registry, or one part of a registry, with its credentials still encoded: an entry that no image asks
// for may be broken without harm.
type entry struct {
	source string // what errors call the secret
	host   string
	path   string // "" for the whole registry
	auth   types.AuthConfig
}

// FromSecret reads the data of a volume's nodePublishSecretRef. A secret without data is an empty keyring. Errors
// name the key and never hold what the secret holds.
func FromSecret(secret map[string]string) (Keyring, error) {
	if len(secret) == 0 {
		return Keyring{}, nil
	}
	return parse(volumeSecret, secret)
}

func parse(source string, secret map[string]string) (Keyring, error) {
	if data, ok := secret[dockerConfigJSONKey]; ok {
		return parseConfigJSON(source, data)
	}
	if data, ok := secret[dockerConfigKey]; ok {
		return parseAuths(source, dockerConfigKey, data)
	}
	return Keyring{}, fmt.Errorf("%s has neither the key %q nor %q; create it with "+
		"\"kubectl create secret docker-registry\"", source, dockerConfigJSONKey, dockerConfigKey)
}

func parseConfigJSON(source, data string) (Keyring, error) {
	if len(data) > maxSecretBytes {
		return Keyring{}, tooLarge(source, dockerConfigJSONKey)
	}
	var file struct {
		Auths json.RawMessage `json:"auths"`
	}
	if err := json.Unmarshal([]byte(data), &file); err != nil {
		return Keyring{}, notAConfig(source, dockerConfigJSONKey)
	}
	if len(file.Auths) == 0 {
		return Keyring{}, nil
	}
	return parseAuths(source, dockerConfigJSONKey, string(file.Auths))
}

func parseAuths(source, key, data string) (Keyring, error) {
	if len(data) > maxSecretBytes {
		return Keyring{}, tooLarge(source, key)
	}
	var auths map[string]types.AuthConfig
	if err := json.Unmarshal([]byte(data), &auths); err != nil {
		return Keyring{}, notAConfig(source, key)
	}
	keyring := Keyring{}
	for _, registry := range slices.Sorted(maps.Keys(auths)) {
		host, path := splitRegistry(registry)
		if host == "" {
			continue
		}
		keyring.entries = append(keyring.entries, entry{source: source, host: host, path: path, auth: auths[registry]})
	}
	return keyring, nil
}

// The parser's own error is left out on purpose: it quotes what it read.
func notAConfig(source, key string) error {
	return fmt.Errorf("the key %q of %s is not a Docker configuration in JSON; create the secret with "+
		"\"kubectl create secret docker-registry\"", key, source)
}

func tooLarge(source, key string) error {
	return fmt.Errorf("the key %q of %s is larger than %d bytes", key, source, maxSecretBytes)
}

// Match returns the credentials for an image, those with the longest matching path first. A host matches as a whole
// or not at all, and a path only at a path boundary, so that a credential never reaches a registry it was not written
// for. None is not an error.
func (k Keyring) Match(image reference.Named) ([]*runtimeapi.AuthConfig, error) {
	host, repository := strings.ToLower(reference.Domain(image)), reference.Path(image)
	var matching []entry
	for _, e := range k.entries {
		if e.host == host && beneath(repository, e.path) {
			matching = append(matching, e)
		}
	}
	slices.SortStableFunc(matching, func(a, b entry) int { return len(b.path) - len(a.path) })

	var auths []*runtimeapi.AuthConfig
	for _, e := range matching {
		auth, err := toCRI(e.auth)
		if err != nil {
			return nil, fmt.Errorf("%s has an unusable entry for registry %q: %w", e.source, host, err)
		}
		if auth != nil {
			auths = append(auths, auth)
		}
	}
	return auths, nil
}

// beneath tells whether a repository is path or lies under it; every repository lies under "".
func beneath(repository, path string) bool {
	return path == "" || repository == path || strings.HasPrefix(repository, path+"/")
}

// errNotUserPassword is all that may be said about a value that is itself the secret.
var errNotUserPassword = errors.New(`its "auth" is not the base64 of "user:password"`)
