package checkout

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
)

// Extract writes the files of a commit of the checkout's repository into dir.
func Extract(ctx context.Context, commit, dir string) error {
	root, err := Root()
	if err != nil {
		return err
	}
	archive := exec.CommandContext(ctx, "git", "-C", root, "archive", "--format=tar", commit)
	var said bytes.Buffer
	archive.Stderr = &said
	unpack := exec.CommandContext(ctx, "tar", "-x", "-C", dir)
	unpack.Stderr = &said
	if unpack.Stdin, err = archive.StdoutPipe(); err != nil {
		return fmt.Errorf("extract commit %s: %w", commit, err)
	}
	if err := archive.Start(); err != nil {
		return fmt.Errorf("extract commit %s: %w", commit, err)
	}
	unpackErr := unpack.Run()
	if err := archive.Wait(); err != nil {
		return fmt.Errorf("extract commit %s, which has to be in the clone's history (a shallow clone lacks it): %w: %s", commit, err, said.String())
	}
	if unpackErr != nil {
		return fmt.Errorf("extract commit %s: %w: %s", commit, unpackErr, said.String())
	}
	return nil
}
