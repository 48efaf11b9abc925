package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"sigs.k8s.io/yaml"

	"github.com/image-csi/image-csi-operator/api/v1alpha1"
	"github.com/image-csi/image-csi-operator/internal/cli/handover"
	"github.com/image-csi/image-csi-operator/internal/cli/reading"
	"github.com/image-csi/image-csi-operator/internal/cli/writing"
	"github.com/image-csi/image-csi-operator/internal/operator/migration"
)

// changes are the flags of a migration that changes the cluster.
type changes struct {
	apply, back bool
	manifest    string
	patience    time.Duration
}

// way is the one that the flags ask for.
func (c changes) way() handover.Direction {
	if c.back {
		return handover.ToLegacy
	}
	return handover.ToOperator
}

// handOver shows what a handover does and, if asked to, does it.
func (p *program) handOver(ctx context.Context, chosen source, asked changes) error {
	reader, _, err := p.cluster()
	if err != nil {
		return err
	}
	objects, err := reader.Handover(ctx, chosen.daemonSet, nil)
	if err != nil {
		return &exitError{ExitCluster, err}
	}
	if objects.Driver == nil && len(objects.Sets) > 0 && !asked.back {
		if objects.Wanted, objects.Unready, err = p.wanted(ctx, chosen, asked.manifest); err != nil {
			return err
		}
	}
	cluster, err := handover.See(objects)
	if err != nil {
		return &exitError{ExitCluster, err}
	}
	last := p.describe(asked.way(), cluster)
	if last.Kind == handover.Blocked {
		return errFinding
	}
	if !asked.apply {
		return nil
	}
	return p.takeSteps(ctx, reader, chosen.daemonSet, objects, asked)
}

// describe prints a plan, and returns its last step.
func (p *program) describe(way handover.Direction, cluster handover.Cluster) handover.Step {
	plan := handover.Plan(way, cluster)
	for _, line := range handover.Describe(plan) {
		fmt.Fprintln(p.streams.ErrOut, "plan:", line)
	}
	return plan[len(plan)-1]
}

// preview prints what --apply would do with a driver, as far as the cluster can be read.
func (p *program) preview(ctx context.Context, daemonSet string, driver *v1alpha1.ImageCSIDriver) {
	var cluster handover.Cluster
	reader, _, err := p.cluster()
	if err == nil {
		var objects handover.Objects
		if objects, err = reader.Handover(ctx, daemonSet, driver); err == nil {
			cluster, err = handover.See(objects)
		}
	}
	if err != nil {
		fmt.Fprintln(p.streams.ErrOut, "plan: not known:", err)
		return
	}
	p.describe(handover.ToOperator, cluster)
}

// wanted is the ImageCSIDriver to create: that of a file or, if nothing has to be done for it first, the one that migrate prints.
func (p *program) wanted(ctx context.Context, chosen source, file string) (driver *v1alpha1.ImageCSIDriver, unready string, err error) {
	if file != "" {
		driver, err := p.driverIn(file)
		return driver, "", err
	}
	from, err := p.legacyDriver(ctx, chosen)
	if err != nil {
		return nil, "", err
	}
	plan := migration.PlanOf(from)
	for _, note := range plan.Notes {
		if note.Kind == migration.Action {
			unready = "there is something to do before the driver is created: run kubectl imagecsi migrate >driver.yaml, do what its lines say, " +
				"and go on with --apply -f driver.yaml"
		}
	}
	return plan.Driver, unready, nil
}

// driverIn reads an ImageCSIDriver from a file.
func (p *program) driverIn(file string) (*v1alpha1.ImageCSIDriver, error) {
	text, err := p.textIn(file)
	if err != nil {
		return nil, usage("read the ImageCSIDriver: %w", err)
	}
	driver := &v1alpha1.ImageCSIDriver{}
	if err := yaml.UnmarshalStrict(text, driver); err != nil {
		return nil, usage("read the ImageCSIDriver in %s: %w", file, err)
	}
	if driver.Kind != "ImageCSIDriver" || driver.APIVersion != v1alpha1.GroupVersion.String() || driver.Name == "" {
		return nil, usage("read the ImageCSIDriver in %s: it is none of %s with a name", file, v1alpha1.GroupVersion)
	}
	return driver, nil
}

// textIn reads a file, or the standard input for -.
func (p *program) textIn(file string) ([]byte, error) {
	from := p.streams.In
	if file != "-" {
		opened, err := os.Open(file)
		if err != nil {
			return nil, err
		}
		defer opened.Close()
		from = opened
	}
	text, err := io.ReadAll(io.LimitReader(from, maxValues+1))
	if err == nil && len(text) > maxValues {
		err = fmt.Errorf("%s has more than 1 MiB", file)
	}
	return text, err
}

// writer changes objects of the cluster that the flags name.
func (p *program) writer() (*writing.Writer, error) {
	config, err := p.flags.ToRESTConfig()
	if err != nil {
		return nil, &exitError{ExitCluster, err}
	}
	writer, err := writing.New(config)
	if err != nil {
		return nil, &exitError{ExitCluster, err}
	}
	return writer, nil
}

// takeSteps takes all steps, and says what to do after them.
func (p *program) takeSteps(ctx context.Context, reader *reading.Reader, named string, first handover.Objects, asked changes) error {
	writer, err := p.writer()
	if err != nil {
		return err
	}
	pace := writing.DefaultPace()
	pace.Patience = asked.patience
	run := writing.Run{Way: asked.way(), Pace: pace, Take: writer.Take,
		Say: func(line string) { fmt.Fprintln(p.streams.Out, line) },
		Read: func(ctx context.Context) (handover.Objects, error) {
			objects, err := reader.Handover(ctx, named, first.Wanted)
			objects.Unready = first.Unready
			return objects, err
		}}
	last, objects, err := run.Go(ctx)
	switch {
	case errors.Is(err, writing.ErrTimeout):
		return &exitError{ExitTimeout, fmt.Errorf("%w; run the same again to go on, or %s to go back", err, otherWay(asked))}
	case err != nil:
		return &exitError{ExitCluster, fmt.Errorf("%w; run the same again to go on, or %s to go back", err, otherWay(asked))}
	case last.Kind == handover.Blocked:
		return &exitError{ExitFinding, errors.New(last.Why)}
	}
	return p.afterwards(last, objects, asked)
}

func otherWay(asked changes) string {
	if asked.back {
		return "kubectl imagecsi migrate --apply"
	}
	return "kubectl imagecsi migrate --back --apply"
}

// afterwards says what is left to a person.
func (p *program) afterwards(last handover.Step, objects handover.Objects, asked changes) error {
	say := func(format string, args ...any) { fmt.Fprintf(p.streams.Out, format+"\n", args...) }
	if asked.back {
		say("done: the legacy driver serves as before")
		return nil
	}
	for _, left := range last.Left {
		say("node %s: keeps the legacy driver: %s", left.Node, left.Why)
	}
	if len(last.Left) > 0 {
		say("the other nodes are handed over. Do not remove the legacy driver before these are: fix that, and run the same again")
		return errFinding
	}
	if len(objects.Sets) == 0 {
		say("done: there is no DaemonSet of the legacy driver")
		return nil
	}
	say("done: every node is handed over, and the legacy driver has no pods there. To remove it:")
	for _, set := range objects.Sets {
		say("  %s", removal(set))
	}
	return nil
}

// removal is the command that removes the legacy driver of a DaemonSet.
func removal(set handover.LegacySet) string {
	if name := set.Annotations[reading.ReleaseName]; name != "" {
		return strings.TrimSpace(fmt.Sprintf("helm --namespace %s uninstall %s", set.Annotations[reading.ReleaseNamespace], name))
	}
	return fmt.Sprintf("kubectl --namespace %s delete daemonset %s   (then its Deployment, accounts and roles; the CSIDriver object is the operator's now)", set.Namespace, set.Name)
}
