package programs

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/image-csi/image-csi-operator/hack/cluster/checkout"
)

// pinsDir is hack/cluster/pins: the pinned modules are read from the checkout, since a module cannot embed another one.
func pinsDir() (string, error) {
	root, err := checkout.Root()
	if err != nil {
		return "", err
	}
	return filepath.Join(root, "hack", "cluster", "pins"), nil
}

// key hashes everything that decides what a build gives.
func (s Set) key() (string, error) {
	hash := sha256.New()
	fmt.Fprintln(hash, s.Name, s.tags, s.ldflags, s.cgo, cFlags, s.debian)
	for _, name := range slices.Sorted(maps.Keys(s.packages)) {
		fmt.Fprintln(hash, name, s.packages[name])
	}
	if s.pin != "" {
		version, err := goVersion()
		if err != nil {
			return "", err
		}
		fmt.Fprintln(hash, version)
		if err := hashSources(hash, s.pin); err != nil {
			return "", err
		}
	}
	return hex.EncodeToString(hash.Sum(nil))[:12], nil
}

// hashSources hashes the pins and the programs that stand beside them.
func hashSources(hash io.Writer, pin string) error {
	pins, err := pinsDir()
	if err != nil {
		return err
	}
	names := []string{"go.mod", "go.sum"}
	for _, pattern := range []string{"*.go", "*/*.go"} {
		programs, err := fs.Glob(os.DirFS(filepath.Join(pins, pin)), pattern)
		if err != nil {
			return err
		}
		names = append(names, programs...)
	}
	for _, name := range names {
		content, err := os.ReadFile(filepath.Join(pins, pin, name))
		if err != nil {
			return fmt.Errorf("read the pins of %s: %w", pin, err)
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
