package nodecache

import (
	"maps"
	"slices"
	"unique"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/image-csi/image-csi-operator/internal/contract"
	"github.com/image-csi/image-csi-operator/internal/operator/pluginpod"
)

// pod is the part of a Pod, of a node plugin or a probe of sandboxes, that the operator needs: where it runs, whether it is ready and, if it is not, why.
type pod struct {
	metadata
	node string
	// plugin is shared by all pods that have the same.
	plugin unique.Handle[plugin]
	// ready is the pod's Ready condition. unscheduled is why it has no node yet; nil if it has one.
	ready       readiness
	unscheduled *corev1.PodCondition
	// containers that do not run, or that have ended before.
	containers []corev1.ContainerStatus
}

// plugin is what a pod's labels tell about its node plugin. Pods made before there were revisions have an empty one.
type plugin struct {
	driver, class, revision string
	// sandbox is the label imagecsi.dev/sandbox, which the pod of a probe has, and no node plugin.
	sandbox string
}

// TrimPod is the transform of the informer of node plugins' Pods. It returns other objects unchanged.
func TrimPod(object any) (any, error) {
	in, is := object.(*corev1.Pod)
	if !is {
		return object, nil
	}
	out := &pod{metadata: identity(in.ObjectMeta), node: pluginpod.NodeOf(in),
		plugin: unique.Make(plugin{in.Labels[contract.DriverLabel], in.Labels[contract.NodeClassLabel], in.Labels[contract.RevisionLabel], in.Labels[contract.SandboxLabel]})}
	out.CreationTimestamp, out.DeletionTimestamp = in.CreationTimestamp, in.DeletionTimestamp
	for _, condition := range in.Status.Conditions {
		switch {
		case condition.Type == corev1.PodReady:
			out.ready = readiness{status: interned(condition.Status), since: condition.LastTransitionTime}
		case condition.Type == corev1.PodScheduled && condition.Status != corev1.ConditionTrue:
			out.unscheduled = condition.DeepCopy()
		}
	}
	for _, container := range in.Status.ContainerStatuses {
		if container.State.Running != nil && container.LastTerminationState.Terminated == nil {
			continue
		}
		out.containers = append(out.containers, corev1.ContainerStatus{
			Name: container.Name, Image: container.Image, RestartCount: container.RestartCount,
			State: container.State, LastTerminationState: container.LastTerminationState,
		})
	}
	return out, nil
}

// typed returns the Pod as the rules read it. spec.nodeName is set, also before the scheduler writes it.
func (p *pod) typed() *corev1.Pod {
	out := &corev1.Pod{ObjectMeta: p.ObjectMeta}
	out.Labels = p.GetLabels()
	out.Spec.NodeName = p.node
	if p.unscheduled != nil {
		out.Status.Conditions = append(out.Status.Conditions, *p.unscheduled)
	}
	if p.ready.status != "" {
		out.Status.Conditions = append(out.Status.Conditions, corev1.PodCondition{
			Type: corev1.PodReady, Status: p.ready.status, LastTransitionTime: p.ready.since})
	}
	out.Status.ContainerStatuses = p.containers
	return out
}

// GetLabels implements metav1.Object.
func (p *pod) GetLabels() map[string]string {
	runs := p.plugin.Value()
	out := map[string]string{contract.DriverLabel: runs.driver, contract.NodeClassLabel: runs.class, contract.RevisionLabel: runs.revision, contract.SandboxLabel: runs.sandbox}
	maps.DeleteFunc(out, func(_, value string) bool { return value == "" })
	return out
}

func (p *pod) nodeName() string { return p.node }
func (p *pod) in(at *entry)     { at.pods = append(at.pods, p) }
func (p *pod) out(at *entry)    { at.pods = slices.DeleteFunc(at.pods, p.twin) }
func (p *pod) twin(o *pod) bool { return p.Namespace == o.Namespace && p.Name == o.Name }

func (p *pod) same(before fact) bool {
	other, is := before.(*pod)
	return is && p.UID == other.UID && p.node == other.node && p.ready.same(other.ready) &&
		p.DeletionTimestamp.Equal(other.DeletionTimestamp) &&
		p.plugin == other.plugin &&
		equality.Semantic.DeepEqual(p.unscheduled, other.unscheduled) && equality.Semantic.DeepEqual(p.containers, other.containers)
}

// DeepCopyObject implements runtime.Object.
func (p *pod) DeepCopyObject() runtime.Object {
	out := *p
	return &out
}
