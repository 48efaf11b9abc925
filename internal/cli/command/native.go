package command

import (
	"github.com/spf13/cobra"

	"github.com/image-csi/image-csi-operator/internal/cli/native"
	"github.com/image-csi/image-csi-operator/internal/cli/seen"
)

func (p *program) nativeCommand() *cobra.Command {
	var all bool
	cmd := &cobra.Command{
		Use:   "native",
		Short: "Show which image volumes could be Kubernetes' own, and why others need this driver",
		Long: "Show for each image volume of running pods whether Kubernetes' own image volumes could take its place on this cluster, what would\n" +
			"have to change, and why others need this driver. Write has what a pod's manifest would have in place of the volume. What is in an\n" +
			"image is not looked at.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			namespace, err := p.namespace(all)
			if err != nil {
				return err
			}
			reader, cluster, err := p.read(cmd.Context(), namespace, seen.Pods, seen.Claims, seen.Volumes, seen.Drivers, seen.Nodes)
			if err == nil {
				err = needs(cluster, seen.Pods)
			}
			if err != nil {
				return err
			}
			if cluster.Version, err = reader.Version(); err != nil {
				return &exitError{ExitCluster, err}
			}
			return p.finish(native.Volumes(cluster), false)
		},
	}
	cmd.Flags().BoolVarP(&all, "all-namespaces", "A", false, "of all namespaces")
	return cmd
}
