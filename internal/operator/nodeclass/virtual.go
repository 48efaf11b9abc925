package nodeclass

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/image-csi/image-csi-operator/api/v1alpha1"
	"github.com/image-csi/image-csi-operator/internal/contract"
)

// mark is a label or a taint by which a provider marks nodes that run no DaemonSet's pods: there is no machine of their own
// behind them on which a node plugin could mount.
type mark struct {
	key, value string // an empty value stands for any
	kind       string // of node, in the provider's words
}

// virtualLabels and virtualTaints are the marks of virtual nodes, from the providers' own documentation: AWS ("Fargate
// scheduling"), Virtual Kubelet (its chart's label and default taint, which ACI, ECI, CCI, Admiralty and interLink
// keep), Alibaba Cloud ("Schedule pods to a VNode"), Tencent Cloud ("Super Node"), Oracle ("Virtual Nodes") and Liqo ("Virtual nodes").
var (
	virtualLabels = []mark{ //nolint:gochecknoglobals // a table that nothing changes
		{"eks.amazonaws.com/compute-type", "fargate", "of AWS Fargate"},
		{"type", "virtual-kubelet", "of a virtual kubelet"},
		{"liqo.io/type", "virtual-node", "of Liqo"},
		{"k8s.aliyun.com/vnode", "true", "of Alibaba Cloud's container instances"},
		{"node.kubernetes.io/instance-type", "eklet", "of Tencent Cloud's super nodes"},
		{"node-role.kubernetes.io/virtual-node", "", "of Oracle's virtual nodes"},
	}
	virtualTaints = []mark{ //nolint:gochecknoglobals // a table that nothing changes
		{"eks.amazonaws.com/compute-type", "fargate", "of AWS Fargate"},
		{"virtual-kubelet.io/provider", "", "of a virtual kubelet"},
		{"virtual-node.liqo.io/not-allowed", "", "of Liqo"},
		{"k8s.aliyun.com/vnode", "", "of Alibaba Cloud's container instances"},
		{"eks.tke.cloud.tencent.com/eklet", "", "of Tencent Cloud's super nodes"},
	}
)

func (m mark) is(key, value string) bool {
	return m.key == key && (m.value == "" || m.value == value)
}

// IsVirtualTaint reports whether taints with a key may mark virtual nodes.
func IsVirtualTaint(key string) bool {
	return slices.ContainsFunc(virtualTaints, func(m mark) bool { return m.key == key })
}

// virtual returns an *Unsupported for a node that runs no DaemonSet's pods.
func virtual(node *corev1.Node) error {
	for _, m := range virtualLabels {
		if value, has := node.Labels[m.key]; has && m.is(m.key, value) {
			return m.unsupported("label", value)
		}
	}
	for _, m := range virtualTaints {
		for _, taint := range node.Spec.Taints {
			if m.is(taint.Key, taint.Value) {
				return m.unsupported("taint", taint.Value)
			}
		}
	}
	return nil
}

func (m mark) unsupported(what, value string) *Unsupported {
	return &Unsupported{
		Reason:  v1alpha1.ProblemNoDaemonSets,
		Message: fmt.Sprintf("The node is one %s (it has the %s %s=%s) and runs no pods of DaemonSets", m.kind, what, m.key, value),
		Remedy:  fmt.Sprintf("Run pods with image volumes on other nodes; the label %s leaves the node out of this count.", contract.ExcludeLabel),
	}
}
