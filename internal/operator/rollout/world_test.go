package rollout

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/utils/ptr"

	"github.com/image-csi/image-csi-operator/api/v1alpha1"
	"github.com/image-csi/image-csi-operator/internal/contract"
	"github.com/image-csi/image-csi-operator/internal/operator/placement"
)

// world is a cluster in which pods start and fail as a test wants. It holds only what an API server would, so every
// decision is one of an operator that has just started.
type world struct {
	*testing.T
	now        time.Time
	spec       v1alpha1.Rollout
	generation int64
	image      string
	classes    map[string]*worldClass
	// bad says on which nodes an image does not get ready.
	bad func(node, image string) bool
	// refused says for which nodes the API server takes no pod with an image.
	refused func(node, image string) bool
	// last is the latest decision.
	last Decision
	// skew is how far the operator's clock is ahead of the API server's, kubeletSkew how far every kubelet's is.
	skew, kubeletSkew time.Duration
	// mostDown is the largest number of nodes that were without a working node plugin after a decision.
	mostDown int
	pods     int
}

type worldClass struct {
	live  *appsv1.DaemonSet
	nodes []placement.Node
	pods  map[string]*corev1.Pod
}

// names are those of the driver: its own and an alias.
var names = []string{"driver.example.com", "alias.example.com"}

func newWorld(t *testing.T, classes map[string]int) *world {
	w := &world{T: t, now: time.Unix(100000, 0), generation: 1, image: "v1", classes: map[string]*worldClass{},
		bad: func(string, string) bool { return false }, refused: func(string, string) bool { return false },
		spec: v1alpha1.Rollout{State: v1alpha1.RolloutActive, Canary: &v1alpha1.Canary{Nodes: ptr.To[int32](1)},
			MaxUnavailable: ptr.To(intstr.FromInt32(2)), MinReadySeconds: ptr.To[int32](30), ProgressDeadlineSeconds: ptr.To[int32](300)}}
	for name, nodes := range classes {
		w.classes[name] = &worldClass{pods: map[string]*corev1.Pod{}}
		for i := range nodes {
			w.join(name, fmt.Sprintf("%s-%02d", name, i))
		}
	}
	return w
}

// installed is a world with one class that runs v1 everywhere.
func installed(t *testing.T, nodes int) *world {
	w := newWorld(t, map[string]int{"a": nodes})
	w.until(v1alpha1.PhaseComplete)
	return w
}

func (w *world) join(class, node string) {
	w.classes[class].nodes = append(w.classes[class].nodes, placement.Node{
		Node: &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: node, CreationTimestamp: metav1.NewTime(w.now)}},
		Back: w.now.Add(w.kubeletSkew), Registered: sets.New(names...)})
}

func (w *world) node(class string, i int) *placement.Node { return &w.classes[class].nodes[i] }

func (w *world) change(image string, edits ...func(*v1alpha1.Rollout)) {
	w.image = image
	w.generation++
	for _, edit := range edits {
		edit(&w.spec)
	}
}

func paused(s *v1alpha1.Rollout) { s.State = v1alpha1.RolloutPaused }
func active(s *v1alpha1.Rollout) { s.State = v1alpha1.RolloutActive }

func (w *world) rendered(class string) *appsv1.DaemonSet {
	d := &appsv1.DaemonSet{ObjectMeta: metav1.ObjectMeta{Name: class}}
	d.Spec.UpdateStrategy.Type = appsv1.OnDeleteDaemonSetStrategyType
	d.Spec.Template.Spec.Containers = []corev1.Container{{Name: "node-plugin", Image: w.image}}
	return d
}

// decide takes one decision and carries it out, and the pods live on for a second.
func (w *world) decide() Decision {
	w.Helper()
	in := Input{Names: names, Spec: w.spec, Generation: w.generation, Now: w.now.Add(w.skew), Seen: w.last.Seen}
	classes := slices.Sorted(maps.Keys(w.classes))
	for _, name := range classes {
		c := w.classes[name]
		in.Classes = append(in.Classes, Class{Rendered: w.rendered(name), Live: c.live, Nodes: c.nodes, Pods: slices.Collect(maps.Values(c.pods))})
	}
	var err error
	if w.last, err = Decide(in); err != nil {
		w.Fatal(err)
	}
	for i, name := range classes {
		w.classes[name].apply(w.last.DaemonSets[i])
	}
	for _, pod := range w.last.Replace {
		delete(w.classes[pod.Namespace].pods, pod.Spec.NodeName)
	}
	w.mostDown = max(w.mostDown, w.down())
	w.now = w.now.Add(time.Second)
	w.live()
	return w.last
}

func (c *worldClass) apply(d *appsv1.DaemonSet) {
	d = d.DeepCopy()
	d.Generation = 1
	if c.live != nil {
		d.Generation = c.live.Generation
		if image(c.live.Spec.Template.Spec) != image(d.Spec.Template.Spec) {
			d.Generation++
		}
		d.Status = c.live.Status
	}
	c.live = d
}

func image(spec corev1.PodSpec) string { return spec.Containers[0].Image }

// live plays the DaemonSet controller, which gives every node a pod, and the kubelets, which start them.
func (w *world) live() {
	for name, c := range w.classes {
		c.live.Status.ObservedGeneration = c.live.Generation
		c.live.Status.DesiredNumberScheduled = int32(len(c.nodes))
		for i := range c.nodes {
			node := &c.nodes[i]
			pod := c.pods[node.Name]
			if pod == nil && w.refused(node.Name, image(c.live.Spec.Template.Spec)) {
				continue
			}
			if pod == nil {
				pod = w.pod(name, node.Name, c.live.Spec.Template)
				c.pods[node.Name] = pod
			}
			if !node.Away {
				w.ready(pod, !w.bad(node.Name, image(pod.Spec)))
			}
		}
		maps.DeleteFunc(c.pods, func(node string, _ *corev1.Pod) bool {
			return !slices.ContainsFunc(c.nodes, func(n placement.Node) bool { return n.Name == node })
		})
	}
}

func (w *world) pod(class, node string, template corev1.PodTemplateSpec) *corev1.Pod {
	w.pods++
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: class, Name: fmt.Sprintf("%s-%d", node, w.pods),
		UID:    types.UID(fmt.Sprint(w.pods)),
		Labels: template.Labels, CreationTimestamp: metav1.NewTime(w.now)}, Spec: template.Spec}
	pod.Spec.NodeName = node
	return pod
}

func (w *world) ready(pod *corev1.Pod, is bool) {
	status, now := corev1.ConditionFalse, metav1.NewTime(w.now.Add(w.kubeletSkew))
	if is {
		status = corev1.ConditionTrue
	}
	if len(pod.Status.Conditions) == 0 {
		pod.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, LastTransitionTime: now}}
	}
	if pod.Status.Conditions[0].Status != status {
		pod.Status.Conditions[0].Status, pod.Status.Conditions[0].LastTransitionTime = status, now
	}
	pod.Status.ContainerStatuses = nil
	if !is {
		pod.Status.ContainerStatuses = []corev1.ContainerStatus{{Image: image(pod.Spec),
			State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ImagePullBackOff", Message: "manifest unknown"}}}}
	}
}

// down counts the nodes without a pod that is ready.
func (w *world) down() int {
	n := 0
	for _, c := range w.classes {
		for _, node := range c.nodes {
			pod := c.pods[node.Name]
			if pod == nil || len(pod.Status.Conditions) == 0 || pod.Status.Conditions[0].Status != corev1.ConditionTrue {
				n++
			}
		}
	}
	return n
}

// until decides until the rollout is in a phase; what takes 3000 seconds does not end.
func (w *world) until(phase v1alpha1.RolloutPhase) {
	w.Helper()
	w.untilThat(string(phase), func() bool { return w.last.Status.Phase == phase })
}

func (w *world) untilThat(what string, is func() bool) {
	w.Helper()
	for range 3000 {
		w.decide()
		if is() {
			return
		}
	}
	w.Fatalf("%s does not come to be; status %+v, images %v", what, w.last.Status, w.images())
}

// forAWhile decides for ten minutes.
func (w *world) forAWhile() {
	w.Helper()
	for range 600 {
		w.decide()
	}
}

// images returns the image on every node, in the order of the nodes' names.
func (w *world) images() []string {
	var out []string
	for _, name := range slices.Sorted(maps.Keys(w.classes)) {
		c := w.classes[name]
		for _, node := range slices.Sorted(maps.Keys(c.pods)) {
			out = append(out, image(c.pods[node].Spec))
		}
	}
	return out
}

func (w *world) wantImages(want ...string) {
	w.Helper()
	if got := w.images(); !slices.Equal(got, want) {
		w.Errorf("images %v, want %v; status %+v", got, want, w.last.Status)
	}
}

func (w *world) wantPhase(want v1alpha1.RolloutPhase) {
	w.Helper()
	if got := w.last.Status.Phase; got != want {
		w.Errorf("phase %s, want %s; status %+v", got, want, w.last.Status)
	}
}

func (w *world) count(img string) int {
	n := 0
	for _, got := range w.images() {
		if got == img {
			n++
		}
	}
	return n
}

func (w *world) revision(class string) string {
	return w.classes[class].live.Spec.Template.Labels[contract.RevisionLabel]
}
