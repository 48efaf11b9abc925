package nodecache

import (
	"maps"
	"slices"
	"strings"
	"unique"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/utils/ptr"

	"github.com/image-csi/image-csi-operator/internal/contract"
	"github.com/image-csi/image-csi-operator/internal/operator/nodeclass"
	"github.com/image-csi/image-csi-operator/internal/operator/placement"
)

// node is the part of a Node that the operator needs: its name, age and labels, the taints that are ours or mark it as
// virtual, its software, and whether its kubelet reports.
type node struct {
	metadata
	taints []corev1.Taint
	// software is shared by all nodes that have the same.
	software unique.Handle[software]
	ready    readiness
}

type software struct {
	system, image, kubelet, runtime, kernel string
	// noUsers is set if the container runtime reports that it runs no pods with users of their own.
	noUsers bool
}

// TrimNode is the transform of the informer of Nodes. It returns other objects unchanged.
func TrimNode(object any) (any, error) {
	in, is := object.(*corev1.Node)
	if !is {
		return object, nil
	}
	info := in.Status.NodeInfo
	out := &node{metadata: identity(in.ObjectMeta), software: unique.Make(software{
		system: info.OperatingSystem, image: info.OSImage, kubelet: info.KubeletVersion, runtime: info.ContainerRuntimeVersion,
		kernel: info.KernelVersion, noUsers: slices.ContainsFunc(in.Status.RuntimeHandlers, runsNoUsers),
	})}
	out.Labels, out.CreationTimestamp = internedLabels(in.Labels, in.Name), in.CreationTimestamp
	for _, taint := range in.Spec.Taints {
		if strings.HasPrefix(taint.Key, contract.Prefix) || nodeclass.IsVirtualTaint(taint.Key) {
			out.taints = append(out.taints, taint)
		}
	}
	if ready := placement.ReadyCondition(in); ready != nil {
		out.ready = readiness{status: interned(ready.Status), since: ready.LastTransitionTime}
	}
	return out, nil
}

// runsNoUsers reports whether a handler is that of pods without a RuntimeClass, and runs none with users of their own.
func runsNoUsers(handler corev1.NodeRuntimeHandler) bool {
	return handler.Name == "" && handler.Features != nil && !ptr.Deref(handler.Features.UserNamespaces, true)
}

// typed returns the Node as the rules read it.
func (n *node) typed() *corev1.Node {
	out := &corev1.Node{ObjectMeta: n.ObjectMeta}
	out.Spec.Taints = n.taints
	runs := n.software.Value()
	out.Status.NodeInfo = corev1.NodeSystemInfo{
		OperatingSystem: runs.system, OSImage: runs.image, KubeletVersion: runs.kubelet, ContainerRuntimeVersion: runs.runtime,
		KernelVersion: runs.kernel,
	}
	if runs.noUsers {
		out.Status.RuntimeHandlers = []corev1.NodeRuntimeHandler{{Features: &corev1.NodeRuntimeHandlerFeatures{UserNamespaces: ptr.To(false)}}}
	}
	if n.ready.status != "" {
		out.Status.Conditions = []corev1.NodeCondition{{
			Type: corev1.NodeReady, Status: n.ready.status, LastTransitionTime: n.ready.since}}
	}
	return out
}

func (n *node) nodeName() string { return n.Name }
func (n *node) in(p *entry)      { p.node = n }
func (n *node) out(p *entry)     { p.node = nil }

// same reports whether nothing changed that matters, as with a heartbeat.
func (n *node) same(before fact) bool {
	other, is := before.(*node)
	return is && n.UID == other.UID && n.software == other.software && n.ready.same(other.ready) &&
		maps.Equal(n.Labels, other.Labels) && equality.Semantic.DeepEqual(n.taints, other.taints)
}

// DeepCopyObject implements runtime.Object.
func (n *node) DeepCopyObject() runtime.Object {
	out := *n
	return &out
}
