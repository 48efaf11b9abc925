package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// builds are the programs of every architecture, in a directory of each one's name.
type builds struct{ dir string }

func (b builds) remove() { _ = os.RemoveAll(b.dir) }

// program is the path of a program.
func (b builds) program(architecture, name string) string {
	return filepath.Join(b.dir, architecture, name)
}

// compile builds what the Makefile's target does, and the must-gather image's shell, for every architecture of a release.
func compile(ctx context.Context, r release) (builds, error) {
	dir, err := os.MkdirTemp("", "image-csi-release-")
	if err != nil {
		return builds{}, fmt.Errorf("make a directory for programs: %w", err)
	}
	b := builds{dir}
	for _, architecture := range r.architectures {
		command := exec.CommandContext(ctx, "make", "--no-print-directory", "-C", r.root, "build",
			"OUT="+filepath.Join(dir, architecture), "VERSION="+r.version, "GOOS=linux", "GOARCH="+architecture)
		command.Stdout, command.Stderr = os.Stderr, os.Stderr
		if err := command.Run(); err != nil {
			b.remove()
			return builds{}, fmt.Errorf("build the programs for %s: %w", architecture, err)
		}
		if err := compileShell(ctx, r.root, filepath.Join(dir, architecture), architecture); err != nil {
			b.remove()
			return builds{}, err
		}
	}
	return b, nil
}

// compileShell builds the shell's program, which is a module of its own, into a directory.
func compileShell(ctx context.Context, root, dir, architecture string) error {
	command := exec.CommandContext(ctx, "go", "build", "-mod=readonly", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", dir+string(filepath.Separator), ".")
	command.Dir = filepath.Join(root, "cmd", mustGather)
	command.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+architecture)
	command.Stdout, command.Stderr = os.Stderr, os.Stderr
	if err := command.Run(); err != nil {
		return fmt.Errorf("build the shell of the must-gather image for %s: %w", architecture, err)
	}
	return nil
}
