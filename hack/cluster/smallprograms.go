package cluster

import (
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"

	"github.com/image-csi/image-csi-operator/hack/cluster/checkout"
	"github.com/image-csi/image-csi-operator/hack/cluster/gobuild"
)

// pauseSource is the program in the image that holds a pod's namespaces. It is built from here rather than found in a
// checkout, so that it can be built wherever this package runs.
//
//go:embed pause/main.go
var pauseSource []byte

// enterSources are what the program that runs commands in nodes is built from.
//
//go:embed go.mod internal/cgroup/*.go internal/enter/*.go
var enterSources embed.FS

// BuildSmall builds the small programs of this module that every cluster with nodes runs, and keeps them in the user's cache. Up
// builds those that are missing there, so a machine that got the cache needs no Go.
func BuildSmall(ctx context.Context) error {
	if _, err := buildPause(ctx); err != nil {
		return err
	}
	_, err := buildEnter(ctx)
	return err
}

// buildPause returns the path of the program that holds a pod's namespaces.
func buildPause(ctx context.Context) (string, error) {
	return buildOnce("pause", pauseSource, func(work, to string) error {
		for name, content := range map[string][]byte{"main.go": pauseSource, "go.mod": []byte("module pause\n\ngo 1.26\n")} {
			if err := os.WriteFile(filepath.Join(work, name), content, 0o644); err != nil {
				return err
			}
		}
		return gobuild.Program(ctx, work, ".", to)
	})
}

// buildEnter returns the path of the program that runs commands in nodes.
func buildEnter(ctx context.Context) (string, error) {
	var sources []byte
	err := fs.WalkDir(enterSources, ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := enterSources.ReadFile(path)
		sources = append(sources, content...)
		return err
	})
	if err != nil {
		return "", err
	}
	return buildOnce("enter", sources, func(_, to string) error {
		root, err := checkout.Root()
		if err != nil {
			return err
		}
		return gobuild.Program(ctx, filepath.Join(root, "hack", "cluster"), "./internal/enter", to)
	})
}

// buildOnce returns the path of a program, which it builds unless the cache has one of the same sources.
func buildOnce(name string, sources []byte, build func(work, to string) error) (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(sources)
	dir := filepath.Join(cache, "image-csi-operator", name, runtime.GOARCH+"-"+hex.EncodeToString(sum[:6]))
	program := filepath.Join(dir, name)
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
	if err := build(work, filepath.Join(work, name)); err != nil {
		return "", fmt.Errorf("build the program %s: %w", name, err)
	}
	// Two clusters may build it at once; the last rename wins and both are the same.
	return program, os.Rename(filepath.Join(work, name), program)
}
