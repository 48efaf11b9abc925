package component

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/image-csi/image-csi-operator/hack/cluster/checkout"
)

// sourceDir is hack/cluster/components: the pinned modules are read from the checkout, since a module cannot embed
// another one.
func sourceDir() (string, error) {
	root, err := checkout.Root()
	if err != nil {
		return "", err
	}
	return filepath.Join(root, "hack", "cluster", "components"), nil
}

// key hashes everything that decides what a build gives.
func (c Component) key() (string, error) {
	hash := sha256.New()
	fmt.Fprintln(hash, c.Name, c.tags, c.ldflags, c.cgo, c.debian)
	for _, name := range slices.Sorted(maps.Keys(c.programs)) {
		fmt.Fprintln(hash, name, c.programs[name])
	}
	if c.module != "" {
		version, err := goVersion()
		if err != nil {
			return "", err
		}
		fmt.Fprintln(hash, version)
		if err := hashSources(hash, c.module); err != nil {
			return "", err
		}
	}
	return hex.EncodeToString(hash.Sum(nil))[:12], nil
}

func hashSources(hash interface{ Write([]byte) (int, error) }, module string) error {
	sources, err := sourceDir()
	if err != nil {
		return err
	}
	for _, name := range []string{"go.mod", "go.sum", "main.go"} {
		content, err := os.ReadFile(filepath.Join(sources, module, name))
		if os.IsNotExist(err) && name == "main.go" {
			continue
		}
		if err != nil {
			return fmt.Errorf("read the pins of %s: %w", module, err)
		}
		if _, err := hash.Write(content); err != nil {
			return err
		}
	}
	return nil
}

// goVersion asks the go command once for its version.
var goVersion = sync.OnceValues(func() (string, error) {
	out, err := exec.Command("go", "env", "GOVERSION").Output()
	if err != nil {
		return "", fmt.Errorf("ask Go for its version: %w; install Go 1.26 or newer and put it on PATH", err)
	}
	return strings.TrimSpace(string(out)), nil
})
