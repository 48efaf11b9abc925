package command

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"

	"github.com/image-csi/image-csi-operator/internal/cli/document"
	"github.com/image-csi/image-csi-operator/internal/cli/reading"
	"github.com/image-csi/image-csi-operator/internal/operator/migration"
)

// maxValues bounds a file of values.
const maxValues = 1 << 20

func (p *program) migrateCommand() *cobra.Command {
	var chosen source
	var asked changes
	command := &cobra.Command{
		Use:   "migrate",
		Short: "Print the ImageCSIDriver that replaces an installation of the legacy driver, or hand over to it node by node",
		Long: "Print the ImageCSIDriver that is equivalent to an installation of the legacy driver, warm-metal's container image CSI driver.\n\n" +
			"The values are those of its Helm release or, without one, what its DaemonSet is told. The manifest goes to the standard output, and a\n" +
			"line for each value to the standard error: what it becomes, what changes, what has no equal and what to do. Nothing is changed in the cluster.\n\n" +
			"With --apply it hands over node by node: a node plugin comes to a node, and when it is ready and registered, the legacy driver's pod\n" +
			"leaves. With --back it shows the way back, and with --back --apply it goes it. Both can be interrupted at any time, and are continued\n" +
			"by the same command. The page docs/install/migrate.md has all of it.",
		Example: "  kubectl imagecsi migrate >driver.yaml\n" +
			"  helm get values RELEASE --all -o yaml | kubectl imagecsi migrate --values -\n" +
			"  kubectl imagecsi migrate --apply -f driver.yaml\n" +
			"  kubectl imagecsi migrate --back --apply",
		Args: cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			if p.output == document.FormatWide || p.output == document.FormatName {
				return usage("migrate prints a manifest; choose -o yaml or -o json")
			}
			if asked.apply || asked.back {
				return p.handOver(command.Context(), chosen, asked)
			}
			if asked.manifest != "" {
				return usage("-f is for --apply")
			}
			from, err := p.legacyDriver(command.Context(), chosen)
			if err != nil {
				return err
			}
			plan := migration.PlanOf(from)
			if err := p.printPlan(plan); err != nil {
				return err
			}
			if chosen.values == "" {
				p.preview(command.Context(), chosen.daemonSet, plan.Driver)
			}
			return nil
		},
	}
	command.Flags().StringVar(&chosen.release, "release", "", "the legacy driver's Helm release, in the namespace of -n (default: the one that its CSIDriver object names)")
	command.Flags().StringVar(&chosen.daemonSet, "daemonset", "", "the legacy driver's DaemonSet, as NAMESPACE/NAME, instead of a release")
	command.Flags().StringVar(&chosen.values, "values", "", "a file with the release's values, or - for the standard input, instead of the release itself")
	command.Flags().BoolVar(&asked.apply, "apply", false, "hand over node by node, after a plan was shown")
	command.Flags().BoolVar(&asked.back, "back", false, "show the way back to the legacy driver; with --apply, go it")
	command.Flags().StringVarP(&asked.manifest, "filename", "f", "", "with --apply, a file with the ImageCSIDriver to create, or - for the standard input (default: the one that is printed)")
	command.Flags().DurationVar(&asked.patience, "timeout", 10*time.Minute, "with --apply, how long to wait for one thing to happen")
	command.MarkFlagsMutuallyExclusive("release", "values", "daemonset")
	command.MarkFlagsMutuallyExclusive("back", "filename")
	return command
}

// source is where the values of the legacy driver come from, by the flags; nothing stands for what the cluster has.
type source struct{ release, daemonSet, values string }

// legacyDriver reads the legacy driver's installation, its values from a file if there is one.
func (p *program) legacyDriver(ctx context.Context, chosen source) (migration.Installation, error) {
	values, err := p.valuesIn(chosen.values)
	if err != nil {
		return migration.Installation{}, err
	}
	from, release, namespace, err := p.installation(ctx)
	if chosen.values != "" {
		if err != nil {
			fmt.Fprintln(p.streams.ErrOut, "not read: the cluster:", err)
		}
		from.Values, from.Namespace = values, release.Namespace
		return from, nil
	}
	if err != nil {
		return from, &exitError{ExitCluster, fmt.Errorf("%w; what follows from the values of a release alone is printed with --values", err)}
	}
	reader, _, err := p.cluster()
	if err != nil {
		return from, err
	}
	if chosen.release != "" {
		release = reading.Release{Namespace: namespace, Name: chosen.release}
	}
	if release.Name == "" || chosen.daemonSet != "" {
		return p.fromDaemonSet(ctx, reader, from, chosen.daemonSet)
	}
	from.Namespace = release.Namespace
	if from.Values, err = reader.ReleaseValues(ctx, release); err != nil {
		return from, &exitError{ExitCluster, err}
	}
	return from, nil
}

// fromDaemonSet completes an installation that has no release by its DaemonSet.
func (p *program) fromDaemonSet(ctx context.Context, reader *reading.Reader, from migration.Installation, named string) (migration.Installation, error) {
	sets, doubtful, err := reader.LegacyDaemonSets(ctx, named)
	if err != nil {
		return from, &exitError{ExitCluster, err}
	}
	if len(sets) == 0 {
		return from, &exitError{ExitFinding, errors.Join(append(doubtful, errors.New("no CSIDriver object of the legacy driver names a Helm release, and no DaemonSet "+
			"is known as the legacy driver's; name the release by --release and -n, or the DaemonSet by --daemonset, or give the values by --values"))...)}
	}
	set := sets[0]
	if len(sets) > 1 {
		return from, &exitError{ExitFinding, fmt.Errorf("more than one DaemonSet runs the legacy driver: %s/%s and %s/%s; choose the one to read by --daemonset",
			set.Namespace, set.Name, sets[1].Namespace, sets[1].Name)}
	}
	values, gap, err := reader.DaemonSetValues(ctx, set.DaemonSet)
	if err != nil {
		return from, &exitError{ExitCluster, err}
	}
	fmt.Fprintf(p.streams.ErrOut, "read: DaemonSet %s/%s, not a Helm release\n", set.Namespace, set.Name)
	if gap != "" {
		fmt.Fprintln(p.streams.ErrOut, "not read:", gap)
	}
	from.Values, from.Namespace = values, set.Namespace
	from.DriverNames = append(from.DriverNames, set.Names...)
	return from, nil
}

// installation reads the cluster, but for the values of the release. The namespace is that of the flags.
func (p *program) installation(ctx context.Context) (from migration.Installation, release reading.Release, namespace string, err error) {
	reader, namespace, err := p.cluster()
	if err != nil {
		return from, release, namespace, err
	}
	from, release, gaps, err := reader.LegacyDriver(ctx)
	if err != nil {
		return from, release, namespace, &exitError{ExitCluster, err}
	}
	for _, gap := range gaps {
		fmt.Fprintln(p.streams.ErrOut, "not read: not permitted:", gap)
	}
	return from, release, namespace, nil
}

// valuesIn reads a file of values; nothing without a file.
func (p *program) valuesIn(file string) (map[string]any, error) {
	if file == "" {
		return nil, nil
	}
	text, err := p.textIn(file)
	if err != nil {
		return nil, usage("read the values: %w", err)
	}
	values := map[string]any{}
	if err := yaml.Unmarshal(text, &values); err != nil {
		return nil, usage("read the values in %s: %w", file, err)
	}
	return values, nil
}

func (p *program) printPlan(plan migration.Plan) error {
	for _, note := range plan.Notes {
		fmt.Fprintln(p.streams.ErrOut, note)
	}
	text, err := plan.YAML()
	if err == nil && p.output == document.FormatJSON {
		text, err = yaml.YAMLToJSON(text)
		text = append(text, '\n')
	}
	if err != nil {
		return err
	}
	_, err = p.streams.Out.Write(text)
	return err
}
