package placement

import (
	"errors"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/sets"

	"github.com/image-csi/image-csi-operator/api/v1alpha1"
	"github.com/image-csi/image-csi-operator/internal/contract"
	"github.com/image-csi/image-csi-operator/internal/operator/conflicts"
	"github.com/image-csi/image-csi-operator/internal/operator/nodeclass"
)

// Plan is how nodes get their class. The zero Plan removes every label.
type Plan struct {
	// Table finds a node's class; nil if no driver wants node plugins.
	Table *nodeclass.Table
	// Selector is a spec.nodePlugin, whose selectors restrict the nodes.
	Selector v1alpha1.NodePlugin
	// Hold keeps labels that no driver wants any more, because another driver's node plugins stay for now.
	Hold bool
}

// PlanOf returns the plan that a cluster's drivers agree on. Leaving out a driver shows what stays without it.
func PlanOf(all conflicts.Cluster, without string) Plan {
	plan := Plan{}
	for _, driver := range all.Holding() {
		plan.Hold = plan.Hold || driver.Name != without
	}
	for _, driver := range all.Placing() {
		if driver.Name != without {
			return ByDriver(&driver, plan.Hold)
		}
	}
	return plan
}

// ByDriver returns the plan of a single driver.
func ByDriver(driver *v1alpha1.ImageCSIDriver, hold bool) Plan {
	table := nodeclass.NewTable(driver.Spec.NodeClasses)
	return Plan{Table: &table, Selector: driver.Spec.NodePlugin, Hold: hold}
}

// Node is a node as a driver's rules see it: where the plan places it, and what the driver has there.
type Node struct {
	// Node is the API server's object. It is shared, and must not be changed.
	*corev1.Node
	// Away is set when its kubelet does not report that the node is ready; then the state of its node plugin is unknown. A node
	// without the condition counts as reporting.
	Away bool
	// Back is when the kubelet last began, or ceased, to report so. The clock may be anyone's.
	Back time.Time
	// Selected reports whether the plan selects the node.
	Selected bool
	// Unsupported is why a selected node has no class; nil if it has one.
	Unsupported *nodeclass.Unsupported
	// Unknown is what a selected node does not report at present, so that it keeps the class that it has; nil if it reports
	// everything.
	Unknown *nodeclass.Unknown
	// Current is the class in the node's label; empty without a label.
	Current string
	// Wanted is the class that the label should have; empty for no label.
	Wanted string
	// Tainted reports whether the node has the startup taint.
	Tainted bool
	// Policy is whose SELinux policy the node has.
	Policy nodeclass.SELinuxPolicy
	// RuntimeVersion is the node's status.nodeInfo.containerRuntimeVersion.
	RuntimeVersion string
	// Registered are the CSI driver names in the node's CSINode object.
	Registered sets.Set[string]
	// Began is when the node or its node plugin last began.
	Began time.Time
	// UsedBy is a pod, as namespace/name, that uses a volume of the driver and so keeps the node's class, or the
	// driver there, as it is; empty if nothing has to wait.
	UsedBy string
	// Ignored is a pod, as namespace/name, that uses a volume of the driver and was not waited for; empty if there is
	// none.
	Ignored string
}

// IsStartupTaint reports whether a taint, with any effect and value, keeps pods away until the drivers serve.
func IsStartupTaint(taint corev1.Taint) bool { return taint.Key == contract.StartupTaint }

// Eligible reports whether the node can serve the driver.
func (n Node) Eligible() bool { return n.Selected && n.Unsupported == nil }

// Placed reports whether the node has the class label that it should have.
func (n Node) Placed() bool { return n.Current == n.Wanted }

// Serves reports whether the node serves a driver: its kubelet has registered it, and its container runtime answers.
func (n Node) Serves(driver string) bool { return n.Unknown == nil && n.Registered.Has(driver) }

// Waits reports whether the node's class or the driver's removal waits for a pod.
func (n Node) Waits() bool { return n.UsedBy != "" }

// ReadyCondition returns what a node's kubelet last reported of its being ready; nil if it never has.
func ReadyCondition(node *corev1.Node) *corev1.NodeCondition {
	for i := range node.Status.Conditions {
		if condition := &node.Status.Conditions[i]; condition.Type == corev1.NodeReady {
			return condition
		}
	}
	return nil
}

// Of returns a node with its placement, and nothing yet of what the driver has there.
func (p Plan) Of(node *corev1.Node) Node {
	out := Node{
		Node:           node,
		Current:        node.Labels[contract.NodeClassLabel],
		Tainted:        slices.ContainsFunc(node.Spec.Taints, IsStartupTaint),
		Policy:         nodeclass.PolicyOf(node),
		RuntimeVersion: node.Status.NodeInfo.ContainerRuntimeVersion,
	}
	if ready := ReadyCondition(node); ready != nil {
		out.Away, out.Back = ready.Status != corev1.ConditionTrue, ready.LastTransitionTime.Time
	}
	if p.Table != nil && selects(p.Selector, node) {
		out.Selected = true
		class, err := p.Table.Class(node)
		switch {
		case errors.As(err, &out.Unsupported):
		case errors.As(err, &out.Unknown):
			out.Wanted = out.Current
		default:
			out.Wanted = class.Name
		}
	}
	if out.Wanted == "" && p.Hold {
		out.Wanted = out.Current
	}
	return out
}
