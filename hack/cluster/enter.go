package cluster

import (
	"context"
	"os"
	"path/filepath"
)

// linkEnter has the cluster's directory show the program that runs commands in its nodes.
func (c *Cluster) linkEnter(ctx context.Context) error {
	program, err := buildEnter(ctx)
	if err != nil {
		return err
	}
	link := c.paths.enter()
	if err := os.MkdirAll(filepath.Dir(link), 0o755); err != nil {
		return err
	}
	draft := link + ".new"
	if err := os.RemoveAll(draft); err != nil {
		return err
	}
	if err := os.Symlink(program, draft); err != nil {
		return err
	}
	return os.Rename(draft, link)
}
