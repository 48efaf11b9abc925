package main

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// writeSums writes the SHA-256 of every file of a release in the form that sha256sum --check reads. It is what a releaser signs.
func writeSums(dir string) error {
	var sums bytes.Buffer
	err := fs.WalkDir(os.DirFS(dir), ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		content, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			return err
		}
		fmt.Fprintf(&sums, "%x  %s\n", sha256.Sum256(content), name)
		return nil
	})
	if err != nil {
		return fmt.Errorf("sum up the release: %w", err)
	}
	return os.WriteFile(filepath.Join(dir, marker), sums.Bytes(), 0o644)
}
