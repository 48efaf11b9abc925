package controllers_test

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/image-csi/image-csi-operator/api/v1alpha1"
	"github.com/image-csi/image-csi-operator/internal/cli/handover"
	clireading "github.com/image-csi/image-csi-operator/internal/cli/reading"
	"github.com/image-csi/image-csi-operator/internal/cli/writing"
	"github.com/image-csi/image-csi-operator/internal/contract"
	"github.com/image-csi/image-csi-operator/internal/simulatedfleet"
)

// legacyManifest is as much of a DaemonSet of the legacy driver as its flags say.
const legacyManifest = `
metadata: {namespace: default, name: legacy-nodes}
spec:
  selector: {matchLabels: {app: legacy}}
  updateStrategy: {type: RollingUpdate, rollingUpdate: {maxUnavailable: 1, maxSurge: 0}}
  template:
    metadata: {labels: {app: legacy}}
    spec:
      nodeSelector: {kubernetes.io/os: linux}
      containers:
        - name: registrar
          image: example.com/csi-node-driver-registrar:v2
          args: [--kubelet-registration-path=/var/lib/kubelet/plugins/container-image.csi.k8s.io/csi.sock]
        - name: plugin
          image: example.com/container-image-csi-driver:v2.1.9
          args: [--endpoint=unix:///csi/csi.sock, --node=$(NODE), "--runtime-addr=containerd:///run/containerd/containerd.sock"]
`

// legacyNodes plays the DaemonSet controller for a legacy driver, and the kubelets of all nodes, which register what runs there. Where
// a legacy driver's pod ends, its registrar has the kubelet forget the driver for a moment.
type legacyNodes struct {
	*cluster
	set *appsv1.DaemonSet

	mu sync.Mutex
	// bare are the nodes that had no driver at a time, and started is how many pods each node has had.
	bare    map[string]bool
	started map[string]int
}

func (c *cluster) legacyNodes() *legacyNodes {
	c.Helper()
	l := &legacyNodes{cluster: c, set: &appsv1.DaemonSet{}, bare: map[string]bool{}, started: map[string]int{}}
	c.Expect(yaml.UnmarshalStrict([]byte(legacyManifest), l.set)).To(Succeed())
	c.Expect(c.Create(c.ctx, l.set)).To(Succeed())
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			if err := l.play(ctx); err != nil && ctx.Err() == nil && !apierrors.IsConflict(err) && !apierrors.IsNotFound(err) {
				c.Log("the legacy driver's nodes try again after", err)
			}
			time.Sleep(30 * time.Millisecond)
		}
	}()
	c.Cleanup(func() {
		cancel()
		<-done
		c.Expect(client.IgnoreNotFound(c.Delete(context.Background(), l.set, client.PropagationPolicy("Background")))).To(Succeed())
	})
	return l
}

func (l *legacyNodes) play(ctx context.Context) error {
	var set appsv1.DaemonSet
	var nodes corev1.NodeList
	var pods, plugins corev1.PodList
	for _, err := range []error{
		l.Get(ctx, client.ObjectKeyFromObject(l.set), &set), l.List(ctx, &nodes),
		l.List(ctx, &pods, client.InNamespace("default"), client.MatchingLabels{"app": "legacy"}),
		l.List(ctx, &plugins, client.InNamespace(namespace), client.HasLabels{contract.DriverLabel}),
	} {
		if err != nil {
			return err
		}
	}
	on, ended := map[string]bool{}, map[string]bool{}
	for i := range pods.Items {
		pod := &pods.Items[i]
		if handover.Fits(&set, nodeNamed(nodes.Items, pod.Spec.NodeName)) && selects(&set, nodeNamed(nodes.Items, pod.Spec.NodeName)) {
			on[pod.Spec.NodeName] = true
			continue
		}
		ended[pod.Spec.NodeName] = true
		if err := l.Delete(ctx, pod, client.GracePeriodSeconds(0)); err != nil {
			return err
		}
	}
	ours := map[string]bool{}
	for i := range plugins.Items {
		ours[plugins.Items[i].Spec.NodeName] = ours[plugins.Items[i].Spec.NodeName] || simulatedfleet.Ready(&plugins.Items[i])
	}
	desired := int32(0)
	for i := range nodes.Items {
		node := &nodes.Items[i]
		if selects(&set, node) {
			desired++
			if !on[node.Name] {
				if err := l.run(ctx, &set, node.Name); err != nil {
					return err
				}
				on[node.Name] = true
			}
		}
		if err := l.registers(ctx, node.Name, (ours[node.Name] || on[node.Name]) && !ended[node.Name]); err != nil {
			return err
		}
	}
	l.note(nodes.Items, on, ours)
	if s := &set.Status; s.ObservedGeneration != set.Generation || s.DesiredNumberScheduled != desired {
		s.ObservedGeneration, s.DesiredNumberScheduled, s.CurrentNumberScheduled = set.Generation, desired, desired
		return l.Status().Update(ctx, &set)
	}
	return nil
}

func (l *legacyNodes) note(nodes []corev1.Node, legacy, ours map[string]bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, node := range nodes {
		if l.started[node.Name] > 0 && !legacy[node.Name] && !ours[node.Name] {
			l.bare[node.Name] = true
		}
	}
}

// wereBare returns the nodes that had no driver at a time since the last call.
func (l *legacyNodes) wereBare() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := slices.Sorted(maps.Keys(l.bare))
	l.bare = map[string]bool{}
	return out
}

func (l *legacyNodes) startedOn(node string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.started[node]
}

// run starts the legacy driver's pod on a node.
func (l *legacyNodes) run(ctx context.Context, set *appsv1.DaemonSet, node string) error {
	pod := simulatedfleet.Pod(set, node)
	pod.OwnerReferences = []metav1.OwnerReference{*metav1.NewControllerRef(set, appsv1.SchemeGroupVersion.WithKind("DaemonSet"))}
	if err := l.Create(ctx, pod); err != nil {
		return err
	}
	l.mu.Lock()
	l.started[node]++
	l.mu.Unlock()
	simulatedfleet.Run(pod, corev1.ContainerStateWaiting{})
	return l.Status().Update(ctx, pod)
}

// registers plays a kubelet, which lists the driver or not.
func (l *legacyNodes) registers(ctx context.Context, node string, has bool) error {
	var csiNode storagev1.CSINode
	if err := l.Get(ctx, client.ObjectKey{Name: node}, &csiNode); err != nil {
		return err
	}
	if has == (len(csiNode.Spec.Drivers) > 0) {
		return nil
	}
	csiNode.Spec.Drivers = nil
	if has {
		csiNode.Spec.Drivers = []storagev1.CSINodeDriver{{Name: driverName, NodeID: node}}
	}
	return l.Update(ctx, &csiNode)
}

func nodeNamed(nodes []corev1.Node, name string) *corev1.Node {
	at := slices.IndexFunc(nodes, func(n corev1.Node) bool { return n.Name == name })
	return &nodes[at]
}

func selects(set *appsv1.DaemonSet, node *corev1.Node) bool {
	for key, value := range set.Spec.Template.Spec.NodeSelector {
		if node.Labels[key] != value {
			return false
		}
	}
	return true
}

var errKilled = errors.New("killed")

// way is a handover whose runs are killed after each request that changes something. It returns the last step and how many runs it took.
func (l *legacyNodes) way(way handover.Direction, patience time.Duration) (handover.Step, int, error) {
	l.Helper()
	reader, err := clireading.New(l.server.admin)
	l.Expect(err).NotTo(HaveOccurred())
	writer, err := writing.New(l.server.admin)
	l.Expect(err).NotTo(HaveOccurred())
	wanted := &v1alpha1.ImageCSIDriver{ObjectMeta: metav1.ObjectMeta{Name: driverName}}
	for runs := 1; runs < 40; runs++ {
		last, _, err := writing.Run{
			Way: way, Pace: writing.Pace{Poll: 50 * time.Millisecond, Confirm: 200 * time.Millisecond, Patience: patience},
			Say:  func(line string) { l.Log(line) },
			Read: func(ctx context.Context) (handover.Objects, error) { return reader.Handover(ctx, "", wanted) },
			Take: func(ctx context.Context, step handover.Step, c handover.Cluster, o handover.Objects) error {
				return errors.Join(writer.Take(ctx, step, c, o), errKilled)
			},
		}.Go(l.ctx)
		if !errors.Is(err, errKilled) || err.Error() != errKilled.Error() {
			return last, runs, err
		}
	}
	return handover.Step{}, 0, errors.New("it does not end")
}

// labelsOf are the labels of a handover on all nodes.
func (l *legacyNodes) labelsOf() map[string]string {
	l.Helper()
	out := map[string]string{}
	var nodes corev1.NodeList
	l.Expect(l.List(l.ctx, &nodes)).To(Succeed())
	for _, node := range nodes.Items {
		for _, key := range []string{contract.ExcludeLabel, contract.LegacyDriverLabel} {
			if value, has := node.Labels[key]; has {
				out[node.Name+" "+key] = value
			}
		}
	}
	return out
}

// Every run ends after its first write, so a handover of two nodes there and back is killed at each of its steps. It takes some eight
// seconds.
func TestAHandoverThatIsKilledAfterEachStepEnds(t *testing.T) {
	c := newCluster(t)
	before := csiDriver(driverName)
	before.Labels = map[string]string{"app.kubernetes.io/managed-by": "Helm"}
	before.Annotations = map[string]string{clireading.ReleaseName: "legacy", clireading.ReleaseNamespace: "default"}
	before.Spec.AttachRequired, before.Spec.VolumeLifecycleModes = new(bool), []storagev1.VolumeLifecycleMode{"Persistent", "Ephemeral"}
	c.Expect(c.Create(c.ctx, before)).To(Succeed())
	for _, node := range []string{"n1", "n2"} {
		c.node(node, "containerd://2.1.4")
		c.ready(node, corev1.ConditionTrue)
		c.register(node)
	}
	c.start()
	c.fleet()
	l := c.legacyNodes()

	last, runs, err := l.way(handover.ToOperator, 20*time.Second)
	c.Expect(err).NotTo(HaveOccurred())
	c.Expect(last.Kind).To(Equal(handover.Done))
	c.Expect(runs).To(Equal(9)) // two marks, the DaemonSet, the driver, two steps for each node, and one that finds nothing to do
	c.Expect(l.labelsOf()).To(BeEmpty())
	c.Expect(l.wereBare()).To(BeEmpty())
	c.Expect([]int{l.startedOn("n1"), l.startedOn("n2")}).To(Equal([]int{1, 1}))
	for _, node := range []string{"n1", "n2"} {
		c.Eventually(c.classOf(node), soon).Should(Equal("containerd"))
	}

	user := c.user("user", "n1", driverName)
	_, _, err = l.way(handover.ToLegacy, 3*time.Second)
	c.Expect(err).To(MatchError(writing.ErrTimeout))
	c.Expect(err).To(MatchError(ContainSubstring("default/user")))
	c.Expect(l.wereBare()).To(BeEmpty())
	c.endPod(user)

	last, runs, err = l.way(handover.ToLegacy, 20*time.Second)
	c.Expect(err).NotTo(HaveOccurred())
	c.Expect(last.Kind).To(Equal(handover.Done))
	c.Expect(runs).To(Equal(9)) // the other three of both nodes, the driver, the CSIDriver object, the DaemonSet, both nodes, and one more
	c.Expect(l.labelsOf()).To(BeEmpty())
	c.Expect([]int{l.startedOn("n1"), l.startedOn("n2")}).To(Equal([]int{2, 2}))
	var set appsv1.DaemonSet
	c.Expect(c.Get(c.ctx, client.ObjectKeyFromObject(l.set), &set)).To(Succeed())
	c.Expect(set.Spec).To(Equal(l.set.Spec))
	c.Expect(set.Annotations).NotTo(HaveKey(handover.RecordAnnotation))
	after := csiDriver(driverName)
	c.Expect(c.Get(c.ctx, client.ObjectKeyFromObject(after), after)).To(Succeed())
	c.Expect([]any{after.Labels, after.Annotations, after.Spec}).To(Equal([]any{before.Labels, before.Annotations, before.Spec}))
	c.Expect(c.exists(driverNamed(driverName))()).To(BeFalse())
}
