// Package gobuild builds programs, and links each only once.
package gobuild

import (
	"context"
	"fmt"
	"os"
	"os/exec"
)

// Program builds the main package pkg of the module in dir, static and without a symbol table, into the file to. Flags are those of
// go build. A program that was built before, from the same sources with the same flags, is copied from Go's build cache: that keeps
// what go run links, which go build links anew each time.
func Program(ctx context.Context, dir, pkg, to string, flags ...string) error {
	// The file that is there may be a running program's, which cannot be written to.
	arguments := append([]string{"run", "-exec=cp --remove-destination", "-trimpath"}, flags...)
	build := exec.CommandContext(ctx, "go", append(arguments, pkg, to)...)
	build.Dir = dir
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-mod=readonly", "GOWORK=off")
	if said, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("build %s of %s into %s: %w\n%s", pkg, dir, to, err, said)
	}
	return nil
}
