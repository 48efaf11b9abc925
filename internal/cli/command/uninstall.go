package command

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/image-csi/image-csi-operator/internal/cli/document"
	"github.com/image-csi/image-csi-operator/internal/cli/reading"
	"github.com/image-csi/image-csi-operator/internal/cli/seen"
	"github.com/image-csi/image-csi-operator/internal/cli/uninstall"
)

func (p *program) uninstallCommand() *cobra.Command {
	var apply bool
	var patience time.Duration
	cmd := &cobra.Command{
		Use:   "uninstall",
		Short: "Show how to remove the installation, in order; with --apply, delete the drivers",
		Long: "Show what there is of an installation and the steps that remove it, in their order, with the commands of the way in which it was\n" +
			"installed.\n\n" +
			"With --apply it takes the step that only the running operator can finish: it deletes the ImageCSIDrivers, unless a pod uses a volume\n" +
			"of theirs, waits until they are gone, and shows what is left to do. It deletes nothing else, and forces nothing. It can be interrupted\n" +
			"at any time, and is continued by the same command.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			reader, cluster, err := p.installed(cmd.Context())
			if err != nil {
				return err
			}
			plan := uninstall.Plan(cluster)
			if !apply {
				return p.finish(plan, plan.Blocked())
			}
			return p.deleteDrivers(cmd.Context(), reader, cluster, plan, patience)
		},
	}
	cmd.Flags().BoolVar(&apply, "apply", false, "delete the ImageCSIDrivers, and wait until they are gone")
	cmd.Flags().DurationVar(&patience, "timeout", 10*time.Minute, "with --apply, how long to wait until they are gone")
	return cmd
}

// installed reads what there is to remove.
func (p *program) installed(ctx context.Context) (*reading.Reader, seen.Cluster, error) {
	reader, cluster, err := p.read(ctx, "", uninstall.Needs()...)
	if err != nil {
		return nil, cluster, err
	}
	if err := reader.Subscriptions(ctx, &cluster); err != nil {
		return nil, cluster, &exitError{ExitCluster, err}
	}
	return reader, cluster, nil
}

// deleteDrivers deletes the drivers that were seen, waits until they are gone, and prints what is left.
func (p *program) deleteDrivers(ctx context.Context, reader *reading.Reader, cluster seen.Cluster, plan document.Uninstall, patience time.Duration) error {
	if err := needs(cluster, seen.Drivers, seen.Operators, seen.Pods, seen.Claims, seen.Volumes); err != nil {
		return err
	}
	if plan.Blocked() {
		if err := p.print(plan); err != nil {
			return err
		}
		return &exitError{ExitFinding, errors.New("nothing was deleted: a step before it is blocked")}
	}
	writer, err := p.writer()
	if err != nil {
		return err
	}
	for i := range cluster.Drivers {
		fmt.Fprintln(p.streams.ErrOut, "deleting ImageCSIDriver", cluster.Drivers[i].Name)
		if err := writer.DeleteDriver(ctx, &cluster.Drivers[i]); err != nil {
			return &exitError{ExitCluster, err}
		}
	}
	if err := p.gone(ctx, reader, cluster, patience); err != nil {
		return err
	}
	_, left, err := p.installed(ctx)
	if err != nil {
		return err
	}
	return p.print(uninstall.Plan(left, cluster.Names()...))
}

// gone waits until the drivers that were seen are gone. One that somebody has created again is an error.
func (p *program) gone(ctx context.Context, reader *reading.Reader, cluster seen.Cluster, patience time.Duration) error {
	var deleted []types.UID
	for i := range cluster.Drivers {
		deleted = append(deleted, cluster.Drivers[i].UID)
	}
	said := ""
	err := wait.PollUntilContextTimeout(ctx, waitPeriod, patience, true, func(ctx context.Context) (bool, error) {
		latest, err := reader.Read(ctx, "", seen.Drivers)
		if err != nil {
			return false, &exitError{ExitCluster, err}
		}
		var left []string
		for i := range latest.Drivers {
			if d := &latest.Drivers[i]; slices.Contains(deleted, d.UID) {
				left = append(left, d.Name+": "+d.Status.Message)
			} else {
				return false, &exitError{ExitFinding, fmt.Errorf("ImageCSIDriver %s was created meanwhile, as by a tool that applies manifests from a repository; stop that first", d.Name)}
			}
		}
		if text := strings.Join(left, ", "); text != "" && text != said {
			fmt.Fprintln(p.streams.ErrOut, "waiting for the operator to remove", text)
			said = text
		}
		return len(left) == 0, nil
	})
	if wait.Interrupted(err) && ctx.Err() == nil {
		return &exitError{ExitTimeout, fmt.Errorf("the drivers are not gone after %s; kubectl describe imagecsidrivers shows what the operator waits for, and the same command goes on", patience)}
	}
	return err
}
