package clusters

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/image-csi/image-csi-operator/test/internal/poll"
)

// CallLimit bounds a call: it is more than any wait that a command is told to make.
const CallLimit = 4 * time.Minute

// environment is that of the cluster's administrator.
func (c *Cluster) environment(more ...string) []string {
	path := strings.Join([]string{c.plugins, c.kubernetes, os.Getenv("PATH")}, string(os.PathListSeparator))
	return append(os.Environ(), append(more, "KUBECONFIG="+c.Kubeconfig(), "PATH="+path)...)
}

// Kubectl runs the cluster's kubectl and returns its output; what it says on failure is in the error.
func (c *Cluster) Kubectl(ctx context.Context, input string, args ...string) (string, error) {
	return c.run(ctx, input, nil, filepath.Join(c.kubernetes, "kubectl"), args...)
}

// Shell runs a command line as an administrator types it, in the checkout, with more variables.
func (c *Cluster) Shell(ctx context.Context, line string, variables ...string) (string, error) {
	return c.run(ctx, "", variables, "sh", "-ec", line)
}

func (c *Cluster) run(ctx context.Context, input string, variables []string, program string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, CallLimit)
	defer cancel()
	command := exec.CommandContext(ctx, program, args...)
	command.Dir = c.Root
	command.Env = c.environment(variables...)
	var out, said bytes.Buffer
	command.Stdin, command.Stdout, command.Stderr = strings.NewReader(input), &out, &said
	if err := command.Run(); err != nil {
		return out.String(), fmt.Errorf("%s %s: %w: %s", filepath.Base(program), strings.Join(args, " "), err, said.String())
	}
	return strings.TrimSpace(out.String()), nil
}

// Plugin is a call of the program of `kubectl imagecsi` that a test starts, and may kill.
func (c *Cluster) Plugin(ctx context.Context, args ...string) *exec.Cmd {
	command := exec.CommandContext(ctx, filepath.Join(c.plugins, "kubectl-imagecsi"), args...)
	command.Env = c.environment()
	return command
}

// Running is a call of the cluster's kubectl whose output a test reads while it runs.
func (c *Cluster) Running(ctx context.Context, args ...string) *exec.Cmd {
	command := exec.CommandContext(ctx, filepath.Join(c.kubernetes, "kubectl"), args...)
	command.Env = c.environment()
	return command
}

// Must is Kubectl for a test that cannot go on without the answer.
func (c *Cluster) Must(t *testing.T, args ...string) string {
	t.Helper()
	out, err := c.Kubectl(t.Context(), "", args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// MustShell is Shell for a test that cannot go on without it.
func (c *Cluster) MustShell(t *testing.T, line string, variables ...string) string {
	t.Helper()
	out, err := c.Shell(t.Context(), line, variables...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// Apply applies manifests.
func (c *Cluster) Apply(t *testing.T, manifests ...string) {
	t.Helper()
	if _, err := c.Kubectl(t.Context(), strings.Join(manifests, "\n---\n"), "apply", "-f", "-"); err != nil {
		t.Fatal(err)
	}
}

// WaitFor repeats a kubectl query until its answer is want.
func (c *Cluster) WaitFor(t *testing.T, within time.Duration, want string, args ...string) {
	t.Helper()
	poll.Until(t, "kubectl "+strings.Join(args, " "), within, func() error {
		got, err := c.Kubectl(t.Context(), "", args...)
		if err == nil && got != want {
			err = fmt.Errorf("got %q, want %q", got, want)
		}
		return err
	})
}
