package credentialprovider

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	providerv1 "k8s.io/kubelet/pkg/apis/credentialprovider/v1"

	"github.com/image-csi/image-csi-operator/internal/credentialprovider/api"
	"github.com/image-csi/image-csi-operator/internal/imagepattern"
)

const (
	// maxKeys bounds the credentials of one answer.
	maxKeys = 64

	// maxFieldBytes bounds a user name and a password; tokens of clouds are a few kilobytes.
	maxFieldBytes = 32 << 10
)

// matched is a credential with the images that it is for.
type matched struct {
	images imagepattern.Pattern
	auth   api.Auth
}

// answer is a program's answer.
type answer struct {
	auths  []matched
	scope  providerv1.PluginCacheKeyType
	during *time.Duration // nil: the provider's default
}

// parseAnswer reads a CredentialProviderResponse. Its errors never quote what was read.
func parseAnswer(data []byte, version string) (answer, error) {
	var response providerv1.CredentialProviderResponse
	if err := json.Unmarshal(data, &response); err != nil {
		return answer{}, errors.New("its answer is not JSON of a CredentialProviderResponse")
	}
	if response.Kind != "CredentialProviderResponse" || response.APIVersion != version {
		return answer{}, fmt.Errorf("its answer is not a CredentialProviderResponse of %s", version)
	}
	switch response.CacheKeyType {
	case providerv1.ImagePluginCacheKeyType, providerv1.RegistryPluginCacheKeyType, providerv1.GlobalPluginCacheKeyType:
	default:
		return answer{}, errors.New("the cacheKeyType of its answer is not Image, Registry or Global")
	}
	if len(response.Auth) > maxKeys {
		return answer{}, fmt.Errorf("its answer has %d credentials, and %d are allowed", len(response.Auth), maxKeys)
	}
	a := answer{scope: response.CacheKeyType}
	if response.CacheDuration != nil {
		a.during = &response.CacheDuration.Duration
	}
	for _, key := range slices.Sorted(maps.Keys(response.Auth)) {
		images, err := imagepattern.Parse(key)
		if err != nil {
			continue // it matches no image; the kubelet ignores it, too
		}
		auth := api.Auth{Username: response.Auth[key].Username, Password: response.Auth[key].Password}
		if len(auth.Username) > maxFieldBytes || len(auth.Password) > maxFieldBytes {
			return answer{}, fmt.Errorf("its answer has a user name or a password above %d bytes", maxFieldBytes)
		}
		a.auths = append(a.auths, matched{images: images, auth: auth})
	}
	return a, nil
}

// matching returns the credentials for an image: the longest path first, and a host without globs before
// one with. What comes from an earlier provider stays first.
func matching(all []matched, image imagepattern.Pattern) []api.Auth {
	var found []matched
	for _, k := range all {
		if k.images.Opens(image) && k.auth != (api.Auth{}) {
			found = append(found, k)
		}
	}
	slices.SortStableFunc(found, func(a, b matched) int { return a.images.Compare(b.images) })
	var auths []api.Auth
	for _, k := range found {
		if !slices.Contains(auths, k.auth) {
			auths = append(auths, k.auth)
		}
	}
	return auths
}
