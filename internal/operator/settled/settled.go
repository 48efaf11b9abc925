package settled

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/sets"

	"github.com/image-csi/image-csi-operator/internal/contract"
	"github.com/image-csi/image-csi-operator/internal/operator/nodeclass"
	"github.com/image-csi/image-csi-operator/internal/operator/placement"
	"github.com/image-csi/image-csi-operator/internal/operator/pluginpod"
	"github.com/image-csi/image-csi-operator/internal/operator/probing"
)

// Kind is what settled nodes count as.
type Kind struct {
	// Class in the node's label; there the kubelet has registered all names of the driver, and the node plugin has the form
	// of the class's DaemonSet. Empty for a node that the driver leaves out, which counts as a node and no more.
	Class string
	// RuntimeVersion of a node with a class: its status.nodeInfo.containerRuntimeVersion.
	RuntimeVersion string
	// Policy is whose SELinux policy a node with a class has.
	Policy nodeclass.SELinuxPolicy
}

// Counts are the numbers of settled nodes.
type Counts map[Kind]int32

// In returns how many of them a class has.
func (c Counts) In(class string) int32 {
	sum := int32(0)
	for kind, nodes := range c {
		if kind.Class == class {
			sum += nodes
		}
	}
	return sum
}

// Rule identifies settled nodes. It applies while nothing is rolled out or removed; during that, every node is examined.
type Rule struct {
	// Plan gives the nodes their class.
	Plan placement.Plan
	// Names are all CSI driver names that the driver serves.
	Names []string
	// Revisions are the forms of the classes' DaemonSets, by class.
	Revisions map[string]string
	// Sandboxes is who asks for sandboxes.
	Sandboxes probing.Asked
}

// Of reports whether a node is settled, and what it counts as, by the drivers that its kubelet has registered and the
// driver's pods there.
func (r Rule) Of(node *corev1.Node, registered sets.Set[string], pods []*corev1.Pod) (Kind, bool) {
	place := r.Plan.Of(node)
	switch {
	case !r.Sandboxes.Settled(place):
		return Kind{}, false
	case !place.Placed() || place.Tainted || place.Unsupported != nil || place.Unknown != nil:
		return Kind{}, false
	case place.Selected:
		serves := len(pods) == 1 && registered.HasAll(r.Names...) && r.works(pods[0], place.Current)
		return Kind{Class: place.Current, RuntimeVersion: place.RuntimeVersion, Policy: place.Policy}, serves
	}
	return Kind{}, place.Current == "" && len(pods) == 0
}

// works reports whether the node plugin's pod has its DaemonSet's form and no problem.
func (r Rule) works(pod *corev1.Pod, class string) bool {
	revision := r.Revisions[class]
	problem, _ := pluginpod.Problem(pod)
	return revision != "" && pod.Labels[contract.RevisionLabel] == revision && pod.Labels[contract.NodeClassLabel] == class &&
		pod.DeletionTimestamp == nil && problem == ""
}
