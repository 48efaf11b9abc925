package placement

import (
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/image-csi/image-csi-operator/api/v1alpha1"
	"github.com/image-csi/image-csi-operator/internal/contract"
	"github.com/image-csi/image-csi-operator/internal/operator/nodeclass"
)

// selects reports whether spec.nodePlugin selects a node: it is not excluded, has every label of the nodeSelector, and matches
// one of the nodeSelectorTerms if there are any.
func selects(plugin v1alpha1.NodePlugin, node *corev1.Node) bool {
	return !excluded(node) && nodeclass.HasLabels(node.Labels, plugin.NodeSelector) &&
		(len(plugin.NodeSelectorTerms) == 0 || slices.ContainsFunc(plugin.NodeSelectorTerms, func(term v1alpha1.NodeSelectorTerm) bool {
			return fits(node, term)
		}))
}

// excluded reports whether a node has the label that excludes it, with any value but "false".
func excluded(node *corev1.Node) bool {
	value, has := node.Labels[contract.ExcludeLabel]
	return has && value != "false"
}

func fits(node *corev1.Node, term v1alpha1.NodeSelectorTerm) bool {
	return !slices.ContainsFunc(term.MatchExpressions, func(wanted v1alpha1.NodeSelectorRequirement) bool {
		return !meets(node, wanted)
	})
}

// meets judges as the scheduler does (Kubernetes API, NodeSelectorRequirement): NotIn also takes nodes without the label.
func meets(node *corev1.Node, wanted v1alpha1.NodeSelectorRequirement) bool {
	value, has := node.Labels[string(wanted.Key)]
	listed := has && slices.Contains(wanted.Values, v1alpha1.LabelValue(value))
	switch wanted.Operator {
	case v1alpha1.NodeSelectorIn:
		return listed
	case v1alpha1.NodeSelectorNotIn:
		return !listed
	case v1alpha1.NodeSelectorExists:
		return has
	case v1alpha1.NodeSelectorDoesNotExist:
		return !has
	}
	return false
}
