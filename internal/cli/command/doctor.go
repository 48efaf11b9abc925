package command

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/image-csi/image-csi-operator/internal/cli/doctor"
)

func (p *program) doctorCommand() *cobra.Command {
	var before bool
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Check the cluster for what keeps image volumes from working, before or after an installation",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			when := doctor.After
			if before {
				when = doctor.Before
			}
			fmt.Fprintln(p.streams.ErrOut, "reading the cluster")
			reader, cluster, err := p.read(cmd.Context(), "", doctor.Needs(when)...)
			if err != nil {
				return err
			}
			if cluster.Version, err = reader.Version(); err != nil {
				return &exitError{ExitCluster, err}
			}
			answer := doctor.Examine(cluster, when)
			return p.finish(answer, answer.Errors > 0)
		},
	}
	cmd.Flags().BoolVar(&before, "before-install", false, "check only what an installation needs")
	return cmd
}
