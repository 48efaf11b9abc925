package credentialprovider

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	kubeletv1 "k8s.io/kubelet/config/v1"
	"sigs.k8s.io/yaml"

	"github.com/image-csi/image-csi-operator/internal/imagepattern"
)

const (
	// maxConfigBytes bounds what is parsed of one file.
	maxConfigBytes = 1 << 20

	// maxProviders is more than any node has.
	maxProviders = 64
)

// configVersions are the versions of a CredentialProviderConfig. They differ only in that v1 alone has tokenAttributes.
var configVersions = []string{ //nolint:gochecknoglobals // a table that nothing changes
	"kubelet.config.k8s.io/v1", "kubelet.config.k8s.io/v1beta1", "kubelet.config.k8s.io/v1alpha1",
}

const (
	configV1  = "kubelet.config.k8s.io/v1"
	requestV1 = "credentialprovider.kubelet.k8s.io/v1"
)

// requestVersions are the versions of the request to a program and of its answer.
var requestVersions = []string{ //nolint:gochecknoglobals // a table that nothing changes
	requestV1, "credentialprovider.kubelet.k8s.io/v1beta1", "credentialprovider.kubelet.k8s.io/v1alpha1",
}

// provider is one checked entry of the configuration.
type provider struct {
	kubeletv1.CredentialProvider
	images []imagepattern.Pattern
	id     [sha256.Size]byte // of everything above: an answer from before a change is not valid
}

// readConfig reads a CredentialProviderConfig, JSON or YAML, or, of a directory, all files named *.json, *.yaml and
// *.yml in the order of their names. The kubelet reads its configuration in the same way.
func readConfig(path string) ([]provider, error) {
	files, err := configFiles(path)
	if err != nil {
		return nil, fmt.Errorf("reading the configuration of credential providers: %w", err)
	}
	var all []provider
	for _, file := range files {
		data, err := readBounded(file)
		if err != nil {
			return nil, fmt.Errorf("reading the configuration of credential providers: %w", err)
		}
		providers, err := parseConfig(data)
		if err != nil {
			return nil, fmt.Errorf("the configuration of credential providers in %s: %w", file, err)
		}
		all = append(all, providers...)
	}
	seen := map[string]bool{}
	for _, p := range all {
		if seen[p.Name] {
			return nil, fmt.Errorf("the configuration of credential providers in %s names %q twice", path, p.Name)
		}
		seen[p.Name] = true
	}
	if len(all) == 0 || len(all) > maxProviders {
		return nil, fmt.Errorf("the configuration of credential providers in %s has %d providers; it must have 1 to %d",
			path, len(all), maxProviders)
	}
	return all, nil
}

func configFiles(path string) ([]string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		return []string{path}, nil
	}
	entries, err := os.ReadDir(path) // sorted by name
	if err != nil {
		return nil, err
	}
	var files []string
	for _, entry := range entries {
		extension := filepath.Ext(entry.Name())
		if !entry.IsDir() && slices.Contains([]string{".json", ".yaml", ".yml"}, extension) {
			files = append(files, filepath.Join(path, entry.Name()))
		}
	}
	return files, nil
}

func readBounded(path string) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, maxConfigBytes+1))
	if err == nil && len(data) > maxConfigBytes {
		err = fmt.Errorf("%s is larger than %d bytes", path, maxConfigBytes)
	}
	return data, err
}

// parseConfig reads one file. JSON is YAML, too. An unknown key is an error, as for the kubelet, because it may
// be one that must not be ignored.
func parseConfig(data []byte) ([]provider, error) {
	var config kubeletv1.CredentialProviderConfig
	if err := yaml.UnmarshalStrict(data, &config); err != nil {
		return nil, fmt.Errorf("it is neither JSON nor YAML of a CredentialProviderConfig: %w", err)
	}
	if config.Kind != "CredentialProviderConfig" || !slices.Contains(configVersions, config.APIVersion) {
		return nil, fmt.Errorf("kind %q of apiVersion %q is not a CredentialProviderConfig of %s",
			config.Kind, config.APIVersion, strings.Join(configVersions, ", "))
	}
	providers := make([]provider, 0, len(config.Providers))
	for _, entry := range config.Providers {
		p, err := checkProvider(entry, config.APIVersion)
		if err != nil {
			return nil, fmt.Errorf("provider %q: %w", entry.Name, err)
		}
		providers = append(providers, p)
	}
	return providers, nil
}

// checkProvider applies the kubelet's rules for an entry, and ours.
func checkProvider(entry kubeletv1.CredentialProvider, version string) (provider, error) {
	p := provider{CredentialProvider: entry}
	switch {
	case entry.Name == "" || entry.Name == "." || entry.Name == ".." || strings.ContainsAny(entry.Name, "/ \x00"):
		return p, errors.New("name is the name of a program in the directory of providers, without '/' and spaces")
	case !slices.Contains(requestVersions, entry.APIVersion):
		return p, fmt.Errorf("apiVersion %q is not one of %s", entry.APIVersion, strings.Join(requestVersions, ", "))
	case len(entry.MatchImages) == 0:
		return p, errors.New("matchImages is empty")
	case entry.DefaultCacheDuration == nil || entry.DefaultCacheDuration.Duration < 0:
		return p, errors.New("defaultCacheDuration is missing or below 0")
	case entry.TokenAttributes != nil && version != configV1:
		return p, fmt.Errorf("tokenAttributes needs apiVersion %s of the configuration", configV1)
	}
	for _, text := range entry.MatchImages {
		image, err := imagepattern.Parse(text)
		if err != nil {
			return p, fmt.Errorf("matchImages: %q is not a pattern of image names: %w", text, err)
		}
		p.images = append(p.images, image)
	}
	if err := checkTokens(entry); err != nil {
		return p, fmt.Errorf("tokenAttributes: %w", err)
	}
	encoded, err := json.Marshal(entry)
	p.id = sha256.Sum256(encoded)
	return p, err
}

func checkTokens(entry kubeletv1.CredentialProvider) error {
	t := entry.TokenAttributes
	switch {
	case t == nil:
		return nil
	case entry.APIVersion != requestV1:
		return fmt.Errorf("apiVersion must be %s", requestV1)
	case t.ServiceAccountTokenAudience == "":
		return errors.New("serviceAccountTokenAudience is missing")
	case t.RequireServiceAccount == nil:
		return errors.New("requireServiceAccount is missing")
	case t.CacheType != kubeletv1.TokenServiceAccountTokenCacheType && t.CacheType != kubeletv1.ServiceAccountServiceAccountTokenCacheType:
		return fmt.Errorf("cacheType %q is neither Token nor ServiceAccount", t.CacheType)
	case len(t.RequiredServiceAccountAnnotationKeys) > 0:
		return fmt.Errorf("requiredServiceAccountAnnotationKeys asks for annotations of service accounts (%s), which a CSI driver "+
			"cannot see without access to the Kubernetes API; use a provider that does without",
			strings.Join(t.RequiredServiceAccountAnnotationKeys, ", "))
	}
	return nil
}

// serves reports whether the provider is for an image.
func (p provider) serves(image imagepattern.Pattern) bool {
	return slices.ContainsFunc(p.images, func(entry imagepattern.Pattern) bool { return entry.Covers(image) })
}
