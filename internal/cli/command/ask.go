package command

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/image-csi/image-csi-operator/internal/cli/document"
	"github.com/image-csi/image-csi-operator/internal/cli/overview"
	"github.com/image-csi/image-csi-operator/internal/cli/reading"
	"github.com/image-csi/image-csi-operator/internal/cli/seen"
	"github.com/image-csi/image-csi-operator/internal/cli/why"
)

// read reads kinds of objects in a namespace; empty stands for all. Not all of them have to be there, or permitted.
func (p *program) read(ctx context.Context, namespace string, kinds ...seen.Resource) (*reading.Reader, seen.Cluster, error) {
	reader, _, err := p.cluster()
	if err != nil {
		return nil, seen.Cluster{}, err
	}
	cluster, err := reader.Read(ctx, namespace, kinds...)
	if err != nil {
		return nil, cluster, &exitError{ExitCluster, err}
	}
	return reader, cluster, nil
}

// needs returns an error unless all of the kinds were read, because without them there is no answer.
func needs(cluster seen.Cluster, kinds ...seen.Resource) error {
	for _, kind := range kinds {
		if cluster.Missed(kind) == seen.Forbidden {
			return &exitError{ExitCluster, fmt.Errorf("you may not list %s: ask for a role with the verb list on them, such as view", kind)}
		}
	}
	return nil
}

// finish prints a document and returns whether it needs action.
func (p *program) finish(d document.Document, needsAction bool) error {
	if err := p.print(d); err != nil {
		return err
	}
	if needsAction {
		return errFinding
	}
	return nil
}

func (p *program) nodesCommand() *cobra.Command {
	var filter overview.NodeFilter
	var selector string
	cmd := &cobra.Command{
		Use:   "nodes",
		Short: "Show the nodes: class, container runtime, and whether the drivers serve them",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if filter.Selector, err = labels.Parse(selector); err != nil {
				return usage("--selector: %w", err)
			}
			_, cluster, err := p.read(cmd.Context(), "", seen.Nodes, seen.CSINodes, seen.Drivers)
			if err == nil {
				err = needs(cluster, seen.Nodes)
			}
			if err != nil {
				return err
			}
			return p.finish(overview.Nodes(cluster, filter), false)
		},
	}
	cmd.Flags().BoolVar(&filter.Problems, "problems", false, "only nodes on which a driver has a problem")
	cmd.Flags().StringVar(&filter.Class, "class", "", "only nodes of this class")
	cmd.Flags().StringVarP(&selector, "selector", "l", "", "only nodes with these labels")
	return cmd
}

func (p *program) volumesCommand() *cobra.Command {
	var filter overview.VolumeFilter
	var all bool
	cmd := &cobra.Command{
		Use:   "volumes",
		Short: "Show the image volumes of pods",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			namespace, err := p.namespace(all)
			if err != nil {
				return err
			}
			_, cluster, err := p.read(cmd.Context(), namespace, seen.Pods, seen.Claims, seen.Volumes, seen.Events, seen.Drivers)
			if err == nil {
				err = needs(cluster, seen.Pods)
			}
			if err != nil {
				return err
			}
			return p.finish(overview.Volumes(cluster, filter), false)
		},
	}
	cmd.Flags().BoolVarP(&all, "all-namespaces", "A", false, "of all namespaces")
	cmd.Flags().StringVar(&filter.Node, "node", "", "only those of pods on this node")
	cmd.Flags().StringVar(&filter.Image, "image", "", "only those whose image has this in its name")
	return cmd
}

func (p *program) whyCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "why pod/NAME | pvc/NAME",
		Short:   "Show why a pod or a claim waits for an image volume, and what to do",
		Example: "  kubectl imagecsi why pod/trainer-0 -n ml",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			kind, name, err := subject(args[0])
			if err != nil {
				return err
			}
			namespace, err := p.namespace(false)
			if err != nil {
				return err
			}
			reader, cluster, err := p.read(cmd.Context(), namespace, seen.Pods, seen.Claims, seen.Events, seen.Drivers)
			if err == nil {
				err = needs(cluster, seen.Pods)
			}
			if err != nil {
				return err
			}
			if err := reader.Named(cmd.Context(), &cluster, nodeOf(cluster, name), namespace, volumesOf(cluster, kind, name)); err != nil {
				return &exitError{ExitCluster, err}
			}
			answer := why.Pod(cluster, namespace, name)
			if kind == "pvc" {
				answer = why.Claim(cluster, namespace, name)
			}
			return p.finish(answer, answer.NeedsAction())
		},
	}
}

// subject reads what a question is about.
func subject(text string) (kind, name string, err error) {
	kind, name, found := strings.Cut(text, "/")
	if !found {
		kind, name = "pod", text
	}
	switch strings.ToLower(kind) {
	case "pod", "pods", "po":
		kind = "pod"
	case "pvc", "persistentvolumeclaim", "persistentvolumeclaims":
		kind = "pvc"
	default:
		return "", "", usage("%q is neither pod/NAME nor pvc/NAME", text)
	}
	if name == "" {
		return "", "", usage("%q names nothing; name a pod or a claim, as in %s/NAME", text, kind)
	}
	return kind, name, nil
}

// nodeOf returns the node of a pod that was read; empty if there is none.
func nodeOf(cluster seen.Cluster, pod string) string {
	at := slices.IndexFunc(cluster.Pods, func(p corev1.Pod) bool { return p.Name == pod })
	if at < 0 {
		return ""
	}
	return cluster.Pods[at].Spec.NodeName
}

// volumesOf returns the PersistentVolumes of a pod's claims, or of one claim.
func volumesOf(cluster seen.Cluster, kind, name string) (names []string) {
	for i := range cluster.Claims {
		claim := &cluster.Claims[i]
		if claim.Spec.VolumeName != "" && (kind == "pvc" && claim.Name == name || kind == "pod" && claimedBy(cluster, name, claim.Name)) {
			names = append(names, claim.Spec.VolumeName)
		}
	}
	return names
}

// claimedBy reports whether a pod that was read uses a claim.
func claimedBy(cluster seen.Cluster, pod, claim string) bool {
	at := slices.IndexFunc(cluster.Pods, func(p corev1.Pod) bool { return p.Name == pod })
	return at >= 0 && slices.ContainsFunc(cluster.Pods[at].Spec.Volumes, func(v corev1.Volume) bool {
		return (v.PersistentVolumeClaim != nil && v.PersistentVolumeClaim.ClaimName == claim) || (v.Ephemeral != nil && pod+"-"+v.Name == claim)
	})
}

// namespace returns the one of the flags and the kubeconfig; empty for all.
func (p *program) namespace(all bool) (string, error) {
	if all {
		return "", nil
	}
	namespace, _, err := p.flags.ToRawKubeConfigLoader().Namespace()
	if err != nil {
		return "", &exitError{ExitCluster, fmt.Errorf("read the kubeconfig: %w", err)}
	}
	return namespace, nil
}
