// Package checkout finds the checkout of the project that the working directory is in.
package checkout

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// Root is the absolute path of the checkout's top directory.
func Root() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("find the checkout: %w", err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "hack", "cluster", "pins")); err == nil {
			return dir, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", errors.New("find the checkout: no directory above the working directory holds hack/cluster/pins; run this inside a checkout of image-csi-operator")
		}
		dir = parent
	}
}
