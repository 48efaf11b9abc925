package command

import (
	"context"
	"errors"
	"fmt"

	"github.com/go-logr/logr"
	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	ctrllog "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/image-csi/image-csi-operator/internal/cli/document"
	"github.com/image-csi/image-csi-operator/internal/cli/reading"
)

// program is what all commands share: where they write, how they reach the cluster, and how they print.
type program struct {
	streams genericiooptions.IOStreams
	version string
	flags   *genericclioptions.ConfigFlags
	output  document.Format
	options document.Options
}

// Run runs the command line and returns its exit code. Results go to the streams' Out, and everything else to ErrOut.
func Run(ctx context.Context, streams genericiooptions.IOStreams, version string, args []string) ExitCode {
	ctrllog.SetLogger(logr.Discard()) // of the client library; what failed is in its errors
	p := &program{streams: streams, version: version, flags: genericclioptions.NewConfigFlags(true)}
	root := p.root() //nolint:contextcheck // commands have the context from cobra
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err != nil && !errors.Is(err, errFinding) {
		fmt.Fprintln(streams.ErrOut, "error:", err)
	}
	return codeOf(err)
}

func (p *program) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "kubectl-imagecsi",
		Short: "Show what image volumes and their drivers do, and why a pod waits",
		Long: "Show what image volumes and their drivers do, and why a pod waits.\n\n" +
			"Exit codes: 0 all is well, 1 something needs action, 2 wrong usage, 3 the cluster was not reached or does not permit it,\n" +
			"4 what --wait waits for did not come.",
		Annotations:       map[string]string{cobra.CommandDisplayNameAnnotation: "kubectl imagecsi"},
		SilenceUsage:      true,
		SilenceErrors:     true,
		PersistentPreRunE: func(*cobra.Command, []string) error { return p.output.Check() },
	}
	root.SetIn(p.streams.In)
	root.SetOut(p.streams.Out)
	root.SetErr(p.streams.ErrOut)
	p.flags.AddFlags(root.PersistentFlags())
	root.PersistentFlags().StringVarP((*string)(&p.output), "output", "o", string(document.FormatTable), "output format: table, wide, json, yaml or name")
	root.PersistentFlags().BoolVar(&p.options.NoHeaders, "no-headers", false, "print tables without their headers")
	root.AddCommand(p.statusCommand(), p.whyCommand(), p.doctorCommand(), p.nodesCommand(), p.nodeCommand(), p.volumesCommand(), p.imagesCommand(), p.pullsCommand(), p.nativeCommand(), p.migrateCommand(), p.uninstallCommand(), p.supportBundleCommand(), p.versionCommand())
	return root
}

// print writes a document in the format that was asked for.
func (p *program) print(d document.Document) error {
	if err := document.Write(p.streams.Out, d, p.output, p.options); err != nil {
		return &exitError{ExitCluster, fmt.Errorf("write the output: %w", err)}
	}
	return nil
}

// cluster returns what reads the cluster of the flags, and the namespace that they name.
func (p *program) cluster() (*reading.Reader, string, error) {
	namespace, _, err := p.flags.ToRawKubeConfigLoader().Namespace()
	if err != nil {
		return nil, "", &exitError{ExitCluster, fmt.Errorf("read the kubeconfig: %w", err)}
	}
	config, err := p.flags.ToRESTConfig()
	if err != nil {
		return nil, "", &exitError{ExitCluster, fmt.Errorf("find the cluster; name it by --kubeconfig and --context: %w", err)}
	}
	reader, err := reading.New(config)
	if err != nil {
		return nil, "", &exitError{ExitCluster, err}
	}
	return reader, namespace, nil
}
