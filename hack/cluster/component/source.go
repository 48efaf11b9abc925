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
)

// sourceDir finds hack/cluster/components above the working directory: the pinned modules are read from the checkout,
// since a module cannot embed another one.
func sourceDir() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("find the pinned sources: %w", err)
	}
	for {
		for _, candidate := range []string{"components", "hack/cluster/components"} {
			path := filepath.Join(dir, candidate)
			if _, err := os.Stat(filepath.Join(path, "kubernetes-1.37", "go.mod")); err == nil {
				return path, nil
			}
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", fmt.Errorf("find hack/cluster/components: it is in no directory above the working directory; run this inside a checkout of image-csi-operator")
		}
		dir = parent
	}
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
