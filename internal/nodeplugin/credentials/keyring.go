package credentials

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/distribution/reference"
	"github.com/docker/cli/cli/config/types"
	"google.golang.org/protobuf/proto"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/image-csi/image-csi-operator/internal/imagepattern"
	"github.com/image-csi/image-csi-operator/internal/nodeplugin/pull"
)

// Keys of the two kinds of Docker credential secrets.
// See https://kubernetes.io/docs/concepts/configuration/secret/#docker-config-secrets.
const (
	dockerConfigJSONKey = ".dockerconfigjson"
	dockerConfigKey     = ".dockercfg"
)

// maxSecretBytes bounds what is parsed. The API server does not store larger secrets.
const maxSecretBytes = 1 << 20

// VolumeSecret is what errors call a volume's own secret.
const VolumeSecret = "the secret of nodePublishSecretRef"

// Keyring holds the entries of secrets. The zero value holds none.
type Keyring struct {
	entries []entry
}

// entry is one registry, or one part of a registry, with its credentials still encoded: a broken entry does no harm unless an
// image needs it.
type entry struct {
	source string // what errors call the secret
	images imagepattern.Pattern
	auth   types.AuthConfig
}

// FromSecret reads the data of a volume's nodePublishSecretRef. A secret without data is an empty keyring. Errors
// name the key and never contain the content.
func FromSecret(secret map[string]string) (Keyring, error) {
	if len(secret) == 0 {
		return Keyring{}, nil
	}
	return parse(VolumeSecret, secret)
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
		images, err := imagepattern.Parse(registry)
		if err != nil || images.Empty() {
			continue // it matches no image; the kubelet ignores it, too
		}
		keyring.entries = append(keyring.entries, entry{source: source, images: images, auth: auths[registry]})
	}
	return keyring, nil
}

// notAConfig leaves out the parser's own error, because that quotes what it read.
func notAConfig(source, key string) error {
	return fmt.Errorf("the key %q of %s is not a Docker configuration in JSON; create the secret with "+
		"\"kubectl create secret docker-registry\"", key, source)
}

func tooLarge(source, key string) error {
	return fmt.Errorf("the key %q of %s is larger than %d bytes", key, source, maxSecretBytes)
}

// Credential is one for an image.
type Credential struct {
	Source string // the secret, for messages
	Auth   *runtimeapi.AuthConfig
}

// Match is Find without the sources.
func (k Keyring) Match(image reference.Named) ([]*runtimeapi.AuthConfig, error) {
	found, err := k.Find(image)
	return auths(found), err
}

func auths(found []Credential) []*runtimeapi.AuthConfig {
	var auths []*runtimeapi.AuthConfig
	for _, credential := range found {
		auths = append(auths, credential.Auth)
	}
	return auths
}

// Find returns the credentials for an image, pull.MaxCredentials at most and each once, those with the longest matching
// path first and those with globs in their host last. A path matches only whole path elements, so that a credential never
// reaches a repository that it is not for. None is not an error.
func (k Keyring) Find(image reference.Named) ([]Credential, error) {
	wanted, err := imagepattern.Parse(image.Name())
	if err != nil {
		return nil, fmt.Errorf("matching credentials with image %s: %w", image.Name(), err)
	}
	var matching []entry
	for _, e := range k.entries {
		if e.images.Opens(wanted) {
			matching = append(matching, e)
		}
	}
	slices.SortStableFunc(matching, func(a, b entry) int { return a.images.Compare(b.images) })

	var found []Credential
	for _, e := range matching {
		if len(found) == pull.MaxCredentials {
			break
		}
		auth, err := toCRI(e.auth)
		if err != nil {
			return nil, fmt.Errorf("%s has an unusable entry for registry %q: %w", e.source, reference.Domain(image), err)
		}
		if auth != nil && !slices.ContainsFunc(found, func(c Credential) bool { return proto.Equal(c.Auth, auth) }) {
			found = append(found, Credential{Source: e.source, Auth: auth})
		}
	}
	return found, nil
}

// errNotUserPassword says no more, because the value itself is the secret.
var errNotUserPassword = errors.New(`its "auth" is not the base64 of "user:password"`)
