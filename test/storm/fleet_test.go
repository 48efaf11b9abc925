package storm_test

import (
	"context"
	"slices"
	"sync"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/image-csi/image-csi-operator/internal/contract"
	"github.com/image-csi/image-csi-operator/test/internal/installation"
)

// fleet plays the DaemonSet controller and the kubelets, and keeps account of what happens on the nodes. What the API
// server does not answer, it tries again.
type fleet struct {
	*cluster
	mu sync.Mutex
	// pods by node.
	pods map[string]corev1.Pod
	// made is how many pods a node has had with an image.
	made map[string]map[string]int
	// served are the nodes that have had a ready node plugin.
	served map[string]bool
	// mostDown is the largest number of served nodes without a ready node plugin at a time, while accounting. A node that
	// joins lacks one, too, but no rollout took it away.
	mostDown   int
	accounting bool
}

// fleet starts to play; the test's end ends it.
func (c *cluster) fleet() *fleet {
	f := &fleet{cluster: c, made: map[string]map[string]int{}, served: map[string]bool{}}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			_ = f.play(ctx)
			time.Sleep(50 * time.Millisecond)
		}
	}()
	c.Cleanup(func() {
		cancel()
		<-done
	})
	return f
}

// with returns how many nodes have a ready node plugin with an image.
func (f *fleet) with(image string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	count := 0
	for _, pod := range f.pods {
		if pod.Spec.Containers[0].Image == image && ready(&pod) {
			count++
		}
	}
	return count
}

// account counts from now on how many nodes are down at a time.
func (f *fleet) account() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.accounting = true
}

// twice returns the nodes that have had more than one pod with an image.
func (f *fleet) twice(image string) []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []string
	for node, made := range f.made {
		if made[image] > 1 {
			out = append(out, node)
		}
	}
	return out
}

func (f *fleet) down() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.mostDown
}

func ready(pod *corev1.Pod) bool {
	return len(pod.Status.Conditions) > 0 && pod.Status.Conditions[0].Status == corev1.ConditionTrue
}

// play takes every pod one step further: a node plugin takes two steps to start.
func (f *fleet) play(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	var (
		daemonSets appsv1.DaemonSetList
		nodes      corev1.NodeList
		pods       corev1.PodList
	)
	ours := []client.ListOption{client.InNamespace(installation.Namespace), client.HasLabels{contract.DriverLabel}}
	for list, options := range map[client.ObjectList][]client.ListOption{&daemonSets: ours, &pods: ours, &nodes: nil} {
		if err := f.List(ctx, list, options...); err != nil {
			return err
		}
	}
	on := map[string]corev1.Pod{}
	for i := range pods.Items {
		pod := &pods.Items[i]
		if pod.DeletionTimestamp != nil {
			if err := f.Delete(ctx, pod, client.GracePeriodSeconds(0)); err != nil {
				return err
			}
			continue
		}
		if err := f.start(ctx, pod); err != nil {
			return err
		}
		on[pod.Spec.NodeName] = *pod
	}
	f.note(on, nodes.Items)
	for i := range daemonSets.Items {
		if err := f.control(ctx, &daemonSets.Items[i], nodes.Items, on); err != nil {
			return err
		}
	}
	return nil
}

func (f *fleet) start(ctx context.Context, pod *corev1.Pod) error {
	if ready(pod) {
		return nil
	}
	pod.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: metav1.Now()}}
	return f.Status().Update(ctx, pod)
}

func (f *fleet) note(on map[string]corev1.Pod, nodes []corev1.Node) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.pods = on
	down := 0
	for _, node := range nodes {
		pod, has := on[node.Name]
		switch {
		case has && ready(&pod):
			f.served[node.Name] = true
		case f.served[node.Name]:
			down++
		}
	}
	if f.accounting {
		f.mostDown = max(f.mostDown, down)
	}
}

// control gives every node of a DaemonSet a pod.
func (f *fleet) control(ctx context.Context, daemonSet *appsv1.DaemonSet, nodes []corev1.Node, on map[string]corev1.Pod) error {
	nodes = slices.DeleteFunc(slices.Clone(nodes), func(node corev1.Node) bool {
		return node.Labels[contract.NodeClassLabel] != daemonSet.Labels[contract.NodeClassLabel]
	})
	for _, node := range nodes {
		if _, has := on[node.Name]; has {
			continue
		}
		if err := f.makePod(ctx, daemonSet, node.Name); err != nil {
			return err
		}
	}
	daemonSet.Status.ObservedGeneration, daemonSet.Status.DesiredNumberScheduled = daemonSet.Generation, int32(len(nodes))
	return f.Status().Update(ctx, daemonSet)
}

func (f *fleet) makePod(ctx context.Context, daemonSet *appsv1.DaemonSet, node string) error {
	image := daemonSet.Spec.Template.Spec.Containers[0].Image
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: installation.Namespace, GenerateName: "plugin-", Labels: daemonSet.Spec.Template.Labels}}
	pod.Spec.NodeName = node
	pod.Spec.Containers = []corev1.Container{{Name: "node-plugin", Image: image}}
	if err := f.Create(ctx, pod); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.made[node] == nil {
		f.made[node] = map[string]int{}
	}
	f.made[node][image]++
	return nil
}
