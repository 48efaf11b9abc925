package roster

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

// pod is where a node plugin runs and whether it does: of one that runs well, little more than that.
type pod struct {
	kept
	node string
	// plugin is that of many pods, and kept once for all of them.
	plugin unique.Handle[plugin]
	// ready is the pod's Ready condition, unscheduled the words of one that has no node yet; nil if it has.
	ready       readiness
	unscheduled *corev1.PodCondition
	// containers that do not run, or that have ended before.
	containers []corev1.ContainerStatus
}

// plugin is what a pod's labels tell of the node plugin in it; the revision is empty from before there were any.
type plugin struct{ driver, class, revision string }

// KeepPod makes of a node plugin's Pod what the cache is to hold; it leaves alone what is none.
func KeepPod(object any) (any, error) {
	in, is := object.(*corev1.Pod)
	if !is {
		return object, nil
	}
	out := &pod{kept: identity(in.ObjectMeta), node: pluginpod.NodeOf(in),
		plugin: unique.Make(plugin{in.Labels[contract.DriverLabel], in.Labels[contract.NodeClassLabel], in.Labels[contract.RevisionLabel]})}
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

// typed returns what is kept as the rules read it. The node stands where the scheduler writes it, also before it does.
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
	out := map[string]string{contract.DriverLabel: runs.driver, contract.NodeClassLabel: runs.class, contract.RevisionLabel: runs.revision}
	maps.DeleteFunc(out, func(_, value string) bool { return value == "" })
	return out
}

func (p *pod) place() string    { return p.node }
func (p *pod) in(at *place)     { at.pods = append(at.pods, p) }
func (p *pod) out(at *place)    { at.pods = slices.DeleteFunc(at.pods, p.twin) }
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
