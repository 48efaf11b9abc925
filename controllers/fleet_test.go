package controllers_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	appsv1 "k8s.io/api/apps/v1"

	"github.com/image-csi/image-csi-operator/internal/contract"
)

// fleet plays the DaemonSet controller and the kubelets: every node of a class has a pod in the DaemonSet's form, which
// is ready unless the test says otherwise.
type fleet struct {
	*cluster
	mu sync.Mutex
	// waits says, by image, what keeps a node plugin from getting ready.
	waits map[string]corev1.ContainerStateWaiting
	// refusals say, by image, why the API server takes no pod.
	refusals map[string]string
	// pods by node.
	pods map[string]corev1.Pod
	// mostDown is the largest number of nodes seen without a node plugin that is ready, since it was last asked for.
	mostDown int
}

// fleet starts to play; the test's end ends it.
func (c *cluster) fleet() *fleet {
	c.Helper()
	f := &fleet{cluster: c, waits: map[string]corev1.ContainerStateWaiting{}, refusals: map[string]string{}}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			if err := f.play(ctx); err != nil && ctx.Err() == nil && !apierrors.IsConflict(err) && !apierrors.IsNotFound(err) && !apierrors.IsAlreadyExists(err) {
				c.Log("the fleet tries again after", err)
			}
			time.Sleep(30 * time.Millisecond)
		}
	}()
	c.Cleanup(func() {
		cancel()
		<-done
	})
	return f
}

// wait keeps node plugins with an image from getting ready; an empty reason lets them.
func (f *fleet) wait(image, reason, message string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.waits[image] = corev1.ContainerStateWaiting{Reason: reason, Message: message}
}

// refuse has the API server take no pod with an image, and say why; for an empty reason it takes them again.
func (f *fleet) refuse(image, why string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.refusals[image] = why
}

// refused plays the DaemonSet controller whose pod the API server has refused: it writes an event, and counts it when it
// meets the same again.
func (f *fleet) refused(ctx context.Context, daemonSet *appsv1.DaemonSet) (bool, error) {
	f.mu.Lock()
	why := f.refusals[daemonSet.Spec.Template.Spec.Containers[0].Image]
	f.mu.Unlock()
	if why == "" {
		return false, nil
	}
	event := &corev1.Event{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: fmt.Sprintf("%s.%d", daemonSet.Name, daemonSet.Generation)},
		InvolvedObject: corev1.ObjectReference{APIVersion: "apps/v1", Kind: "DaemonSet", Namespace: namespace, Name: daemonSet.Name, UID: daemonSet.UID},
		Type:           corev1.EventTypeWarning, Reason: "FailedCreate", LastTimestamp: metav1.Now(),
		Message: fmt.Sprintf("Error creating: pods \"%s-x7k2p\" is forbidden: %s", daemonSet.Name, why)}
	return true, client.IgnoreAlreadyExists(f.Create(ctx, event))
}

// images returns the image on each node, in the order of the nodes' names.
func (f *fleet) images() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []string
	for _, node := range slices.Sorted(maps.Keys(f.pods)) {
		pod := f.pods[node]
		out = append(out, pod.Spec.Containers[0].Image)
	}
	return out
}

// uids returns the UID of the pod on each node.
func (f *fleet) uids() map[string]string {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := map[string]string{}
	for node, pod := range f.pods {
		out[node] = string(pod.UID)
	}
	return out
}

// down returns how many nodes were without a ready node plugin at a time since the last call.
func (f *fleet) down() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	most := f.mostDown
	f.mostDown = 0
	return most
}

// play takes every DaemonSet and pod one step further.
func (f *fleet) play(ctx context.Context) error {
	var (
		daemonSets appsv1.DaemonSetList
		nodes      corev1.NodeList
		pods       corev1.PodList
	)
	ours := []client.ListOption{client.InNamespace(namespace), client.HasLabels{contract.DriverLabel}}
	for list, options := range map[client.ObjectList][]client.ListOption{&daemonSets: ours, &pods: ours, &nodes: nil} {
		if err := f.List(ctx, list, options...); err != nil {
			return err
		}
	}
	on, err := f.kubelets(ctx, pods.Items, nodes.Items, daemonSets.Items)
	if err != nil {
		return err
	}
	for i := range daemonSets.Items {
		if err := f.control(ctx, &daemonSets.Items[i], nodes.Items, on); err != nil {
			return err
		}
	}
	return nil
}

// kubelets end pods that are deleted, whose DaemonSet or node is gone or whose node has left the class, and start the
// others.
func (f *fleet) kubelets(ctx context.Context, pods []corev1.Pod, nodes []corev1.Node, daemonSets []appsv1.DaemonSet) (map[string]corev1.Pod, error) {
	on := map[string]corev1.Pod{}
	for _, pod := range pods {
		class := pod.Labels[contract.NodeClassLabel]
		has := slices.ContainsFunc(nodes, func(n corev1.Node) bool {
			return n.Name == pod.Spec.NodeName && n.Labels[contract.NodeClassLabel] == class
		})
		owned := slices.ContainsFunc(daemonSets, func(d appsv1.DaemonSet) bool {
			return d.Labels[contract.NodeClassLabel] == class && d.Labels[contract.DriverLabel] == pod.Labels[contract.DriverLabel]
		})
		if pod.DeletionTimestamp != nil || !has || !owned {
			if err := f.Delete(ctx, &pod, client.GracePeriodSeconds(0)); err != nil {
				return nil, err
			}
			continue
		}
		if f.run(&pod) {
			if err := f.Status().Update(ctx, &pod); err != nil {
				return nil, err
			}
		}
		on[pod.Spec.NodeName] = pod
	}
	f.note(on, nodes)
	return on, nil
}

func (f *fleet) note(on map[string]corev1.Pod, nodes []corev1.Node) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.pods = on
	down := 0
	for _, node := range nodes {
		pod, has := on[node.Name]
		if !has || len(pod.Status.Conditions) == 0 || pod.Status.Conditions[0].Status != corev1.ConditionTrue {
			down++
		}
	}
	f.mostDown = max(f.mostDown, down)
}

// run brings a pod's status up to date, and reports whether that changed it.
func (f *fleet) run(pod *corev1.Pod) bool {
	f.mu.Lock()
	waits := f.waits[pod.Spec.Containers[0].Image]
	f.mu.Unlock()
	status, state := corev1.ConditionTrue, corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}
	if waits.Reason != "" {
		status, state = corev1.ConditionFalse, corev1.ContainerState{Waiting: &waits}
	}
	if len(pod.Status.Conditions) > 0 && pod.Status.Conditions[0].Status == status {
		return false
	}
	pod.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: status, LastTransitionTime: metav1.Now()}}
	pod.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "node-plugin", Image: pod.Spec.Containers[0].Image, State: state}}
	return true
}

// control gives every node of a DaemonSet a pod.
func (f *fleet) control(ctx context.Context, daemonSet *appsv1.DaemonSet, nodes []corev1.Node, on map[string]corev1.Pod) error {
	desired := int32(0)
	for _, node := range nodes {
		if node.Labels[contract.NodeClassLabel] != daemonSet.Labels[contract.NodeClassLabel] {
			continue
		}
		desired++
		if _, has := on[node.Name]; has {
			continue
		}
		if refused, err := f.refused(ctx, daemonSet); err != nil {
			return err
		} else if refused {
			continue
		}
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, GenerateName: "plugin-", Labels: daemonSet.Spec.Template.Labels}}
		pod.Spec.NodeName = node.Name
		asked := daemonSet.Spec.Template.Spec.Containers[0]
		pod.Spec.Containers = []corev1.Container{{Name: "node-plugin", Image: asked.Image,
			SecurityContext: &corev1.SecurityContext{SeccompProfile: asked.SecurityContext.SeccompProfile}}}
		if err := f.Create(ctx, pod); err != nil {
			return err
		}
	}
	if now := daemonSet.Status; now.ObservedGeneration == daemonSet.Generation && now.DesiredNumberScheduled == desired {
		return nil
	}
	daemonSet.Status.ObservedGeneration, daemonSet.Status.DesiredNumberScheduled = daemonSet.Generation, desired
	return f.Status().Update(ctx, daemonSet)
}
