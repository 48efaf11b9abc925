package command

import (
	"runtime"

	"github.com/spf13/cobra"

	"github.com/image-csi/image-csi-operator/internal/cli/document"
)

func (p *program) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Show the version of this program",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			return p.print(document.NewVersion(p.version, runtime.GOOS+"/"+runtime.GOARCH))
		},
	}
}
