package command

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/image-csi/image-csi-operator/internal/cli/document"
	"github.com/image-csi/image-csi-operator/internal/cli/overview"
	"github.com/image-csi/image-csi-operator/internal/cli/reading"
	"github.com/image-csi/image-csi-operator/internal/cli/seen"
)

const (
	// pluginsNamespace is where node plugins run unless an installation changes it.
	pluginsNamespace = "image-csi-system"

	// watchPeriod is how often --watch looks, which is as often as node plugins look themselves.
	watchPeriod = 2 * time.Second
)

// live is what commands have in common that ask node plugins.
type live struct {
	namespace string
	node      string
	patience  time.Duration
}

func (l *live) register(cmd *cobra.Command) {
	cmd.Flags().StringVar(&l.namespace, "node-plugins", pluginsNamespace, "the namespace of the node plugins")
	cmd.Flags().DurationVar(&l.patience, "node-timeout", 10*time.Second, "how long to wait for the answer of each node plugin")
}

// plugins finds the node plugins to ask.
func (p *program) plugins(ctx context.Context, l live) (*reading.Reader, []seen.NodePlugin, error) {
	reader, _, err := p.cluster()
	if err != nil {
		return nil, nil, err
	}
	plugins, err := reader.NodePlugins(ctx, l.namespace, l.node)
	if apierrors.IsForbidden(err) {
		err = fmt.Errorf("you may not list pods in namespace %s: ask for the role image-csi-inspector there", l.namespace)
	}
	if err != nil {
		return nil, nil, &exitError{ExitCluster, err}
	}
	return reader, plugins, nil
}

// ask asks node plugins. It is an error if the caller may not.
func (l live) ask(ctx context.Context, reader *reading.Reader, plugins []seen.NodePlugin, parts ...seen.Part) ([]seen.View, error) {
	views, err := reader.Views(ctx, plugins, l.patience, parts...)
	if err != nil {
		return nil, &exitError{ExitCluster, err}
	}
	for i := range views {
		if views[i].Cause == seen.Forbidden {
			return nil, &exitError{ExitCluster, fmt.Errorf("you may not create pods/portforward in namespace %s, by which node plugins are asked: "+
				"ask for the role image-csi-inspector there", l.namespace)}
		}
	}
	return views, nil
}

func (p *program) nodeCommand() *cobra.Command {
	var l live
	cmd := &cobra.Command{
		Use:   "node NAME",
		Short: "Show what is on a node: its node plugins, volumes and what they use, kept images, pulls, and what is left over",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			l.node = args[0]
			reader, plugins, err := p.plugins(cmd.Context(), l)
			if err != nil {
				return err
			}
			views, err := l.ask(cmd.Context(), reader, plugins, seen.PartInfo, seen.PartVolumes, seen.PartImages, seen.PartPulls, seen.PartOrphans)
			if err != nil {
				return err
			}
			cluster, err := reader.PodsOn(cmd.Context(), l.node)
			if err != nil {
				return &exitError{ExitCluster, err}
			}
			view := overview.NodeView(cluster, l.node, views)
			return p.finish(view, view.NeedsAction())
		},
	}
	l.register(cmd)
	return cmd
}

func (p *program) imagesCommand() *cobra.Command {
	var l live
	cmd := &cobra.Command{
		Use:   "images",
		Short: "Show the images that node plugins keep: on how many nodes, for how many volumes",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			reader, plugins, err := p.plugins(cmd.Context(), l)
			if err != nil {
				return err
			}
			views, err := l.ask(cmd.Context(), reader, plugins, seen.PartImages)
			if err != nil {
				return err
			}
			return p.finish(overview.Images(views), false)
		},
	}
	l.register(cmd)
	cmd.Flags().StringVar(&l.node, "node", "", "only those on this node")
	return cmd
}

func (p *program) pullsCommand() *cobra.Command {
	var l live
	var watch bool
	cmd := &cobra.Command{
		Use:   "pulls",
		Short: "Show the pulls of nodes: for whom, and how far they are",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return p.pulls(cmd.Context(), l, watch)
		},
	}
	l.register(cmd)
	cmd.Flags().StringVar(&l.node, "node", "", "only those on this node")
	cmd.Flags().BoolVarP(&watch, "watch", "w", false, "look again every two seconds, with rates, until interrupted")
	return cmd
}

// pulls prints the pulls, once or until ctx ends.
func (p *program) pulls(ctx context.Context, l live, watch bool) error {
	var latest document.Pulls
	var at time.Time
	for {
		// Anew each time: nodes come and go, and node plugins are replaced.
		reader, plugins, err := p.plugins(ctx, l)
		if err != nil {
			return unlessEnded(ctx, watch, err)
		}
		views, err := l.ask(ctx, reader, plugins, seen.PartPulls)
		if err != nil || ctx.Err() != nil {
			return unlessEnded(ctx, watch, err)
		}
		now := time.Now()
		latest, at = overview.Pulls(views, latest, now.Sub(at)), now
		if err := p.finish(latest, false); err != nil || !watch {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(watchPeriod):
		}
		if p.output == document.FormatTable || p.output == document.FormatWide {
			fmt.Fprintln(p.streams.Out, strings.Repeat("-", 3), time.Now().Format(time.TimeOnly))
		}
	}
}

// unlessEnded returns an error, but for one of a watch that was interrupted.
func unlessEnded(ctx context.Context, watch bool, err error) error {
	select {
	case <-ctx.Done():
		if watch {
			return nil
		}
	default:
	}
	return err
}
