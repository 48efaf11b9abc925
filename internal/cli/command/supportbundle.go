package command

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/image-csi/image-csi-operator/internal/cli/bundle"
	"github.com/image-csi/image-csi-operator/internal/cli/doctor"
	"github.com/image-csi/image-csi-operator/internal/cli/document"
	"github.com/image-csi/image-csi-operator/internal/cli/overview"
	"github.com/image-csi/image-csi-operator/internal/cli/reading"
	"github.com/image-csi/image-csi-operator/internal/cli/seen"
)

func (p *program) supportBundleCommand() *cobra.Command {
	var l live
	var file, dir string
	cmd := &cobra.Command{
		Use:   "support-bundle",
		Short: "Write an archive for support: drivers, pods, events, logs and live views of ours, without secrets",
		Long: "Write an archive of what the drivers, the operator and the node plugins are and said, for those who help with them. Secrets are not\n" +
			"read. Values of environment variables and annotations, and what looks like a credential in logs and messages, are left out. It has\n" +
			"the names of nodes, of pods with image volumes, and of images; look before you hand it over. The file manifest.json names every file,\n" +
			"and what could not be read, which is also shown at the end.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			now := time.Now()
			b, err := p.collect(cmd.Context(), l, now)
			if err != nil {
				return err
			}
			var d document.SupportBundle
			if dir != "" {
				d, err = b.WriteDir(dir, now)
			} else {
				file = cmp.Or(file, "imagecsi-support-"+now.UTC().Format("20060102-150405")+".tar.gz")
				d, err = b.WriteArchive(file, now)
			}
			if err != nil {
				return usage("%w", err)
			}
			if err := p.print(d); err != nil {
				return err
			}
			fmt.Fprintln(p.streams.ErrOut, "written:", cmp.Or(dir, file))
			for _, m := range d.Missing {
				fmt.Fprintf(p.streams.ErrOut, "not in it: %s: %s\n", m.What, m.Why)
			}
			return nil
		},
	}
	l.register(cmd)
	cmd.Flags().StringVar(&l.node, "node", "", "only logs and live views of node plugins on this node")
	cmd.Flags().StringVar(&file, "file", "", "the archive to write (default imagecsi-support-TIME.tar.gz)")
	cmd.Flags().StringVar(&dir, "dir", "", "write a directory of this name in place of an archive")
	cmd.MarkFlagsMutuallyExclusive("file", "dir")
	return cmd
}

// collect reads all that goes into a bundle. What may not be read, or does not answer, is noted; a cluster that is not reached is an error.
func (p *program) collect(ctx context.Context, l live, now time.Time) (*bundle.Bundle, error) {
	say := func(what string) { fmt.Fprintln(p.streams.ErrOut, "reading", what) }
	b := &bundle.Bundle{}
	say("the cluster")
	reader, cluster, err := p.read(ctx, "", append(doctor.Needs(doctor.After), seen.Operators, seen.Classes)...)
	if err != nil {
		return nil, err
	}
	if cluster.Version, err = reader.Version(); err != nil {
		return nil, &exitError{ExitCluster, err}
	}
	b.Add("versions.json", "versions of this program and the API server", map[string]string{"kubectl-imagecsi": p.version, "kubernetes": cluster.Version})
	for _, u := range cluster.Unread {
		if u.Cause == seen.Forbidden {
			b.Miss(string(u.Resource), "you may not list them")
		}
	}
	b.Add("answers/status.json", "kubectl imagecsi status", overview.Status(cluster, "", now))
	b.Add("answers/nodes.json", "kubectl imagecsi nodes", overview.Nodes(cluster, overview.NodeFilter{}))
	b.Add("answers/volumes.json", "kubectl imagecsi volumes -A", overview.Volumes(cluster, overview.VolumeFilter{}))
	b.Add("answers/doctor.json", "kubectl imagecsi doctor", doctor.Examine(cluster, doctor.After))
	b.Add("nodes.json", "what nodes run and report", bundle.Nodes(cluster))
	namespaces := namespacesOf(cluster, l.namespace)
	if err := p.objects(ctx, reader, b, namespaces); err != nil {
		return nil, &exitError{ExitCluster, err}
	}
	say("logs and live views")
	if err := p.ofPods(ctx, reader, b, l, namespaces); err != nil {
		return nil, &exitError{ExitCluster, err}
	}
	return b, nil
}

// namespacesOf are those of the operator and of node plugins.
func namespacesOf(cluster seen.Cluster, named string) []string {
	names := []string{named}
	for _, o := range cluster.Operators {
		names = append(names, o.Namespace)
	}
	for _, set := range cluster.DaemonSets {
		if set.Driver != "" {
			names = append(names, set.Namespace)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// objects adds the objects of ours as they are.
func (p *program) objects(ctx context.Context, reader *reading.Reader, b *bundle.Bundle, namespaces []string) error {
	for _, kind := range bundle.Kinds() {
		in := []string{""}
		if kind.Namespaced {
			in = namespaces
		}
		for _, namespace := range in {
			objects, gap, err := reader.Objects(ctx, kind.Kind, namespace, kind.Labels)
			if err != nil {
				return err
			}
			if gap != "" {
				b.Miss(kind.Path(namespace), gap)
			}
			if chosen := kind.Chosen(objects); len(chosen) > 0 {
				b.Add(kind.Path(namespace), kind.About, chosen)
			}
		}
	}
	return nil
}

// maxPods bounds the pods whose logs and live views are read.
const maxPods = 50

// ofPods adds logs and live views of our pods.
func (p *program) ofPods(ctx context.Context, reader *reading.Reader, b *bundle.Bundle, l live, namespaces []string) error {
	for _, namespace := range namespaces {
		pods, err := reader.OwnPods(ctx, namespace, l.node)
		if err != nil {
			b.Miss("logs of pods in namespace "+namespace, err.Error())
			continue
		}
		if len(pods) > maxPods {
			b.Miss(fmt.Sprintf("logs and live views of %d pods in namespace %s", len(pods)-maxPods, namespace),
				fmt.Sprintf("there are those of %d pods, the ones that are not ready first; --node chooses a node", maxPods))
			pods = pods[:maxPods]
		}
		for _, log := range reader.Logs(ctx, pods, l.patience) {
			if log.Failure != "" {
				b.Miss(log.Path(), log.Failure)
				continue
			}
			b.AddText(log.Path(), "the end of a container's log", log.Text)
		}
		if err := p.views(ctx, reader, b, l, namespace, pods); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// views adds the live views of the node plugins among the pods.
func (p *program) views(ctx context.Context, reader *reading.Reader, b *bundle.Bundle, l live, namespace string, pods []seen.OwnPod) error {
	plugins, err := reader.NodePlugins(ctx, namespace, l.node)
	if err != nil {
		b.Miss("live views in namespace "+namespace, err.Error())
		return nil
	}
	plugins = slices.DeleteFunc(plugins, func(n seen.NodePlugin) bool {
		return !slices.ContainsFunc(pods, func(o seen.OwnPod) bool { return o.Name == n.Pod })
	})
	views, err := reader.Views(ctx, plugins, l.patience, seen.PartInfo, seen.PartVolumes, seen.PartImages, seen.PartPulls, seen.PartOrphans)
	if err != nil {
		return err
	}
	if slices.ContainsFunc(views, func(v seen.View) bool { return v.Cause == seen.Forbidden }) {
		b.Miss("live views in namespace "+namespace, "you may not create pods/portforward there: ask for the role image-csi-inspector")
		return nil
	}
	for i := range views {
		path := "live/" + views[i].Plugin.Node + "-" + views[i].Plugin.Pod + ".json"
		if views[i].Failure != "" {
			b.Miss(path, views[i].Failure)
			continue
		}
		b.Add(path, "what a node plugin shows of its node", views[i])
	}
	return nil
}
