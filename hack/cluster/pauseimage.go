package cluster

import (
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"runtime"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/image-csi/image-csi-operator/hack/cluster/image"
)

// pauseSource is the program in the image that holds a pod's namespaces. It is built from here rather than found in a
// checkout, so that it can be built wherever this package runs.
//
//go:embed pause/main.go
var pauseSource []byte

// pushPause puts the pause image into the cluster's registry.
func (c *Cluster) pushPause(ctx context.Context) error {
	program, err := buildPause(ctx)
	if err != nil {
		return err
	}
	file, err := image.Program(program, "/pause")
	if err != nil {
		return err
	}
	layer, err := image.Layer(file)
	if err != nil {
		return err
	}
	pause, err := image.New(v1.Config{Entrypoint: []string{"/pause"}}, layer)
	if err != nil {
		return err
	}
	return c.Push(ctx, pauseImage, pause)
}

// buildPause returns the path of the program, built once.
func buildPause(ctx context.Context) (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(pauseSource)
	dir := filepath.Join(cache, "image-csi-operator", "pause", runtime.GOARCH+"-"+hex.EncodeToString(sum[:6]))
	program := filepath.Join(dir, "pause")
	if _, err := os.Stat(program); err == nil {
		return program, nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	work, err := os.MkdirTemp(dir, "build-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(work)
	for name, content := range map[string][]byte{"main.go": pauseSource, "go.mod": []byte("module pause\n\ngo 1.26\n")} {
		if err := os.WriteFile(filepath.Join(work, name), content, 0o644); err != nil {
			return "", err
		}
	}
	if err := goBuild(ctx, work, ".", "pause"); err != nil {
		return "", fmt.Errorf("build the pause program: %w", err)
	}
	// Two clusters may build it at once; the last rename wins and both are the same.
	return program, os.Rename(filepath.Join(work, "pause"), program)
}
