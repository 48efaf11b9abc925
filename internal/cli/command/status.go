package command

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/image-csi/image-csi-operator/internal/cli/document"
	"github.com/image-csi/image-csi-operator/internal/cli/overview"
	"github.com/image-csi/image-csi-operator/internal/cli/reading"
	"github.com/image-csi/image-csi-operator/internal/cli/seen"
)

// waitPeriod is how often --wait looks.
const waitPeriod = 2 * time.Second

func (p *program) statusCommand() *cobra.Command {
	var patience time.Duration
	cmd := &cobra.Command{
		Use:   "status [DRIVER]",
		Short: "Show the drivers: the worst condition first, classes, rollout and problems",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return p.status(cmd.Context(), strings.Join(args, ""), patience)
		},
	}
	cmd.Flags().DurationVar(&patience, "wait", 0, "wait so long until the drivers are available, as in 5m; the exit code is 4 if they do not become so")
	return cmd
}

// status prints the status of the drivers, when they are available or there is no more patience.
func (p *program) status(ctx context.Context, name string, patience time.Duration) error {
	reader, _, err := p.cluster()
	if err != nil {
		return err
	}
	status, err := statusOf(ctx, reader, name)
	if err != nil {
		return err
	}
	if patience == 0 || status.AllAvailable() {
		return p.finish(status, status.NeedsAction())
	}
	fmt.Fprintf(p.streams.ErrOut, "waiting up to %s until the drivers are available\n", patience)
	err = wait.PollUntilContextTimeout(ctx, waitPeriod, patience, false, func(ctx context.Context) (bool, error) {
		latest, err := statusOf(ctx, reader, name)
		if err != nil {
			return false, err
		}
		status = latest
		return status.AllAvailable(), nil
	})
	if err != nil && !wait.Interrupted(err) {
		return err
	}
	if failed := p.print(status); failed != nil {
		return failed
	}
	if err != nil {
		return &exitError{ExitTimeout, fmt.Errorf("the drivers are not available after %s", patience)}
	}
	return nil
}

// statusOf asks for the drivers.
func statusOf(ctx context.Context, reader *reading.Reader, name string) (document.Status, error) {
	cluster, err := reader.Read(ctx, "", seen.Drivers)
	if err != nil {
		return document.Status{}, &exitError{ExitCluster, err}
	}
	if err := needs(cluster, seen.Drivers); err != nil {
		return document.Status{}, err
	}
	return overview.Status(cluster, name, time.Now()), nil
}
