package credentials

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/distribution/reference"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// Directory is where the secrets of the driver are mounted: <directory>/<name of the secret>/<key>. They are read for
// every volume, so a change of a secret applies to the next volume.
type Directory string

// Match is Find without the sources.
func (d Directory) Match(image reference.Named) ([]*runtimeapi.AuthConfig, error) {
	found, err := d.Find(image)
	return auths(found), err
}

// Find returns the credentials for an image from all secrets, as Keyring.Find does. Secrets that cannot be read are
// ignored. The error names them and never contains their content. The directory need not exist.
func (d Directory) Find(image reference.Named) ([]Credential, error) {
	if d == "" {
		return nil, nil
	}
	secrets, err := os.ReadDir(string(d))
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, nil
		}
		return nil, fmt.Errorf("listing the driver's secrets: %w", err)
	}
	var all Keyring
	var errs []error
	for _, secret := range secrets {
		// Names that begin with two dots are the kubelet's own, by which it updates a secret atomically.
		if strings.HasPrefix(secret.Name(), "..") {
			continue
		}
		keyring, err := d.read(secret.Name(), image)
		errs = append(errs, err)
		all.entries = append(all.entries, keyring.entries...)
	}
	found, err := all.Find(image)
	return found, errors.Join(append(errs, err)...)
}

// read returns one secret's entries, none if they are of no use for the image.
func (d Directory) read(name string, image reference.Named) (Keyring, error) {
	source := fmt.Sprintf("the driver's secret %q", name)
	data := map[string]string{}
	for _, key := range []string{dockerConfigJSONKey, dockerConfigKey} {
		content, err := readBounded(filepath.Join(string(d), name, key))
		switch {
		case err == nil:
			data[key] = content
		case !errors.Is(err, fs.ErrNotExist):
			return Keyring{}, fmt.Errorf("reading %s: %w", source, err)
		}
	}
	if len(data) == 0 {
		return Keyring{}, nil // the secret does not exist, or not yet
	}
	keyring, err := parse(source, data)
	if err != nil {
		return Keyring{}, err
	}
	// One secret with an unusable entry must not hide the others.
	if _, err := keyring.Find(image); err != nil {
		return Keyring{}, err
	}
	return keyring, nil
}

// readBounded reads at most one byte more than a file may have.
func readBounded(path string) (string, error) {
	file, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer file.Close()
	content, err := io.ReadAll(io.LimitReader(file, maxSecretBytes+1))
	return string(content), err
}
