package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/image-csi/image-csi-operator/api/v1alpha1"
	"github.com/image-csi/image-csi-operator/internal/contract"
	"github.com/image-csi/image-csi-operator/test/internal/installation"
)

const (
	// perKind is how many nodes are added, changed and removed, one at a time.
	perKind = 8
	// apart is the time between them: the operator collects changes for a second, writes, and sees its own write.
	apart = 3 * time.Second
	// minReadySeconds of the driver, short to save time.
	minReadySeconds int32 = 3
)

// figures of one size of cluster.
type figures struct {
	nodes int
	// install is the way from the driver's creation to labelled nodes and a settled status, serve the way of the node plugins
	// from there; for each the time it took.
	install, serve         work
	installTime, serveTime time.Duration
	// heapPerNode in bytes, over an empty cluster. peak is the most memory that an operator had, resident, in bytes.
	heapPerNode, peak float64
	// quiet is a time of heartbeats only, of so many, over so long.
	quiet     work
	beats     int
	quietTime time.Duration
	// added, changed, removed are the work for one node each.
	added, changed, removed work
	// restart is a new operator on the cluster as it is, and how long it took to have looked at it all.
	restart     work
	restartTime time.Duration
}

// measurement is one under way.
type measurement struct {
	*fleet
	*manager
	program string
	figures figures
}

func measure(ctx context.Context, program, dir string, nodes int, heartbeats time.Duration) (out figures, err error) {
	s, err := installation.Start(ctx, "..", dir)
	if err != nil {
		return out, err
	}
	defer func() { err = errors.Join(err, s.Stop()) }()
	m := &measurement{fleet: &fleet{Server: s}, program: program, figures: figures{nodes: nodes}}
	if m.manager, err = startManager(ctx, s, program); err != nil {
		return out, err
	}
	defer func() { err = errors.Join(err, m.stop()) }()
	for _, step := range []struct {
		what string
		do   func(context.Context) error
	}{
		{"join", m.installDriver},
		{"node plugins start", m.startPlugins},
		{"heartbeats", func(ctx context.Context) error { return m.onlyBeat(ctx, heartbeats) }},
		{"single nodes", m.single},
		{"restart", m.startAgain},
		{"end", func(context.Context) error { return m.end() }},
	} {
		fmt.Fprintf(os.Stderr, "%s  %5d nodes: %s\n", time.Now().Format(time.TimeOnly), nodes, step.what)
		if err := step.do(ctx); err != nil {
			return m.figures, fmt.Errorf("%s: %w", step.what, err)
		}
	}
	return m.figures, nil
}

// installDriver gives an operator that has nothing to do a cluster and then a driver.
func (m *measurement) installDriver(ctx context.Context) error {
	if _, _, err := m.settle(ctx); err != nil {
		return err
	}
	empty, err := m.heap(ctx)
	if err != nil {
		return err
	}
	m.figures.heapPerNode = -empty
	if err := m.each(ctx, 0, m.figures.nodes, m.join); err != nil {
		return err
	}
	m.figures.install, m.figures.installTime, err = m.during(ctx, func() error {
		driver := &v1alpha1.ImageCSIDriver{ObjectMeta: metav1.ObjectMeta{Name: contract.DefaultDriverName}}
		driver.Spec.Rollout.MinReadySeconds = ptr.To(minReadySeconds)
		return m.Create(ctx, driver)
	}, 0)
	return err
}

// startPlugins lets all node plugins start at once.
func (m *measurement) startPlugins(ctx context.Context) (err error) {
	if err := m.schedule(ctx); err != nil {
		return err
	}
	start := func() error { return m.each(ctx, 0, m.figures.nodes, m.serve) }
	m.figures.serve, m.figures.serveTime, err = m.during(ctx, start, m.figures.nodes)
	if err != nil {
		return err
	}
	full, err := m.heap(ctx)
	m.figures.heapPerNode = (m.figures.heapPerNode + full) / float64(m.figures.nodes)
	return err
}

// onlyBeat has the kubelets report, one after the other. A kubelet of which nothing changes writes its node's status every
// five minutes; the leases that it renews more often are no matter of the operator.
func (m *measurement) onlyBeat(ctx context.Context, period time.Duration) error {
	const kubeletPeriod = 5 * time.Minute // nodeStatusReportFrequency
	m.figures.beats = int(float64(m.figures.nodes) * period.Seconds() / kubeletPeriod.Seconds())
	before, err := m.look(ctx)
	if err != nil {
		return err
	}
	start := time.Now()
	err = m.each(ctx, 0, m.figures.beats, func(ctx context.Context, i int) error {
		due := start.Add(period * time.Duration(i) / time.Duration(m.figures.beats))
		if err := sleep(ctx, time.Until(due)); err != nil {
			return err
		}
		return m.beat(ctx, i%m.figures.nodes)
	})
	if err != nil {
		return err
	}
	if err := sleep(ctx, still); err != nil {
		return err
	}
	m.figures.quietTime = time.Since(start)
	after, err := m.look(ctx)
	m.figures.quiet = after.since(before)
	return err
}

// single adds, changes and removes nodes one at a time.
func (m *measurement) single(ctx context.Context) (err error) {
	arrive := func(ctx context.Context, i int) error {
		if err := m.join(ctx, m.figures.nodes+i); err != nil {
			return err
		}
		if err := sleep(ctx, apart); err != nil {
			return err
		}
		return m.serve(ctx, m.figures.nodes+i)
	}
	if m.figures.added, err = m.oneByOne(ctx, arrive); err != nil {
		return err
	}
	if m.figures.changed, err = m.oneByOne(ctx, m.change); err != nil {
		return err
	}
	leave := func(ctx context.Context, i int) error { return m.leave(ctx, m.figures.nodes+i) }
	if m.figures.removed, err = m.oneByOne(ctx, leave); err != nil {
		return err
	}
	return m.expect(ctx, m.figures.nodes, m.figures.nodes)
}

func (m *measurement) oneByOne(ctx context.Context, do func(context.Context, int) error) (work, error) {
	before, err := m.look(ctx)
	if err != nil {
		return work{}, err
	}
	for i := range perKind {
		if err := do(ctx, i); err != nil {
			return work{}, err
		}
		if err := sleep(ctx, apart); err != nil {
			return work{}, err
		}
	}
	after, err := m.look(ctx)
	out := after.since(before)
	out.reconciles /= perKind
	out.writes /= perKind
	out.cpu /= perKind
	return out, err
}

// end stops the operator and notes how much memory it had.
func (m *measurement) end() error {
	if err := m.stop(); err != nil {
		return err
	}
	m.figures.peak = max(m.figures.peak, m.PeakMemory())
	return nil
}

// startAgain replaces the operator.
func (m *measurement) startAgain(ctx context.Context) error {
	if err := m.end(); err != nil {
		return err
	}
	var err error
	if m.manager, err = startManager(ctx, m.Server, m.program); err != nil {
		return err
	}
	start := time.Now()
	if err := m.begin(ctx); err != nil {
		return err
	}
	listed := time.Since(start)
	if m.figures.restart, m.figures.restartTime, err = m.settle(ctx); err != nil {
		return err
	}
	m.figures.restartTime += listed
	return m.expect(ctx, m.figures.nodes, m.figures.nodes)
}

// during does something and waits until the status is right, with so many nodes ready, and the operator rests.
func (m *measurement) during(ctx context.Context, do func() error, ready int) (work, time.Duration, error) {
	before, err := m.look(ctx)
	if err != nil {
		return before, 0, err
	}
	start := time.Now()
	if err := do(); err != nil {
		return before, 0, err
	}
	for err = m.expect(ctx, m.figures.nodes, ready); err != nil; err = m.expect(ctx, m.figures.nodes, ready) {
		if time.Since(start) > patience {
			return before, 0, err
		}
		if err := sleep(ctx, second); err != nil {
			return before, 0, err
		}
	}
	done := time.Since(start)
	after, more, err := m.settle(ctx)
	return after.since(before), done + more, err
}

// expect says what the operator has got wrong. Figures of an operator that does not do its work mean nothing.
func (m *measurement) expect(ctx context.Context, labelled, ready int) error {
	var driver v1alpha1.ImageCSIDriver
	if err := m.Get(ctx, client.ObjectKey{Name: contract.DefaultDriverName}, &driver); err != nil {
		return err
	}
	counts := driver.Status.Nodes
	if int(counts.Total) != labelled || int(counts.Eligible) != labelled || int(counts.Ready) != ready {
		return fmt.Errorf("the status counts %+v, instead of %d nodes and %d ready ones", counts, labelled, ready)
	}
	nodes := &metav1.PartialObjectMetadataList{}
	nodes.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("NodeList"))
	if err := m.List(ctx, nodes, client.HasLabels{contract.NodeClassLabel}); err != nil {
		return err
	}
	if len(nodes.Items) != labelled {
		return fmt.Errorf("%d nodes have a class instead of %d", len(nodes.Items), labelled)
	}
	if ready == labelled && meta.IsStatusConditionTrue(driver.Status.Conditions, v1alpha1.ConditionProgressing) {
		return errors.New("every node is ready, and the driver still progresses")
	}
	return nil
}
