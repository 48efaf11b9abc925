package status

import (
	"slices"
	"strings"

	"github.com/image-csi/image-csi-operator/api/v1alpha1"
	"github.com/image-csi/image-csi-operator/internal/operator/placement"
)

// unsupportedByReason counts the nodes that cannot serve the driver by the reason, sorted, each with what the first of its nodes by
// name tells. It is bounded by the number of reasons.
func unsupportedByReason(nodes []placement.Node) []v1alpha1.UnsupportedNodes {
	found := map[v1alpha1.ProblemReason]*v1alpha1.UnsupportedNodes{}
	for _, node := range nodes {
		why := node.Unsupported
		if why == nil {
			continue
		}
		group := found[why.Reason]
		if group == nil {
			group = &v1alpha1.UnsupportedNodes{Reason: why.Reason}
			found[why.Reason] = group
		}
		if group.Nodes++; group.Node == "" || node.Name < group.Node {
			group.Node, group.Message = node.Name, Shorten(why.Error(), v1alpha1.MaxProblemMessage)
		}
	}
	var out []v1alpha1.UnsupportedNodes
	for _, group := range found {
		out = append(out, *group)
	}
	slices.SortFunc(out, func(a, b v1alpha1.UnsupportedNodes) int { return strings.Compare(string(a.Reason), string(b.Reason)) })
	return first(out, v1alpha1.MaxUnsupportedReasons)
}
