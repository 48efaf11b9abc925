package simulatedfleet

import (
	"context"
	"fmt"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/image-csi/image-csi-operator/internal/contract"
)

// play takes every DaemonSet and pod one step further.
func (f *Fleet) play(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var (
		daemonSets appsv1.DaemonSetList
		nodes      corev1.NodeList
		pods       corev1.PodList
	)
	// Probes of sandboxes are played by the tests that are about them.
	plugins, err := labels.Parse(contract.DriverLabel + ",!" + contract.SandboxLabel)
	if err != nil {
		return err
	}
	ours := []client.ListOption{client.InNamespace(f.namespace), client.MatchingLabelsSelector{Selector: plugins}}
	for list, options := range map[client.ObjectList][]client.ListOption{&daemonSets: ours, &pods: ours, &nodes: nil} {
		if err := f.client.List(ctx, list, options...); err != nil {
			return err
		}
	}
	on, err := f.kubelets(ctx, pods.Items, nodes.Items, daemonSets.Items)
	if err != nil {
		return err
	}
	f.note(on, nodes.Items)
	for i := range daemonSets.Items {
		if err := f.control(ctx, &daemonSets.Items[i], nodes.Items, on); err != nil {
			return err
		}
	}
	return nil
}

// kubelets end pods that are deleted, whose DaemonSet or node is gone or whose node has left the class, and start the
// others. They return the pods by node.
func (f *Fleet) kubelets(ctx context.Context, pods []corev1.Pod, nodes []corev1.Node, daemonSets []appsv1.DaemonSet) (map[string]corev1.Pod, error) {
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
			if err := f.client.Delete(ctx, &pod, client.GracePeriodSeconds(0)); err != nil {
				return nil, err
			}
			continue
		}
		f.mu.Lock()
		waits := f.waits[pod.Spec.Containers[0].Image]
		f.mu.Unlock()
		if Ready(&pod) != (waits.Reason == "") || len(pod.Status.Conditions) == 0 {
			Run(&pod, waits)
			if err := f.client.Status().Update(ctx, &pod); err != nil {
				return nil, err
			}
		}
		on[pod.Spec.NodeName] = pod
	}
	return on, nil
}

// control plays the DaemonSet controller, which gives every node of a DaemonSet a pod.
func (f *Fleet) control(ctx context.Context, daemonSet *appsv1.DaemonSet, nodes []corev1.Node, on map[string]corev1.Pod) error {
	desired := int32(0)
	for _, node := range nodes {
		if node.Labels[contract.NodeClassLabel] != daemonSet.Labels[contract.NodeClassLabel] {
			continue
		}
		desired++
		if _, has := on[node.Name]; has {
			continue
		}
		if err := f.create(ctx, daemonSet, node.Name); err != nil {
			return err
		}
	}
	if now := daemonSet.Status; now.ObservedGeneration == daemonSet.Generation && now.DesiredNumberScheduled == desired {
		return nil
	}
	daemonSet.Status.ObservedGeneration, daemonSet.Status.DesiredNumberScheduled = daemonSet.Generation, desired
	return f.client.Status().Update(ctx, daemonSet)
}

// create makes a node's pod. Where the API server is to refuse it, there is an event instead, which the DaemonSet controller
// counts when it meets the same again.
func (f *Fleet) create(ctx context.Context, daemonSet *appsv1.DaemonSet, node string) error {
	image := daemonSet.Spec.Template.Spec.Containers[0].Image
	f.mu.Lock()
	why := f.refusals[image]
	f.mu.Unlock()
	if why != "" {
		event := &corev1.Event{ObjectMeta: metav1.ObjectMeta{Namespace: f.namespace, Name: fmt.Sprintf("%s.%d", daemonSet.Name, daemonSet.Generation)},
			InvolvedObject: corev1.ObjectReference{APIVersion: "apps/v1", Kind: "DaemonSet", Namespace: f.namespace, Name: daemonSet.Name, UID: daemonSet.UID},
			Type:           corev1.EventTypeWarning, Reason: "FailedCreate", LastTimestamp: metav1.Now(),
			Message: fmt.Sprintf("Error creating: pods \"%s-x7k2p\" is forbidden: %s", daemonSet.Name, why)}
		return client.IgnoreAlreadyExists(f.client.Create(ctx, event))
	}
	if err := f.client.Create(ctx, Pod(daemonSet, node)); err != nil {
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
