package nodeclass

import (
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/image-csi/image-csi-operator/api/v1alpha1"
)

// rule puts a node that fits any of its matches into a class.
type rule struct {
	class Class
	anyOf []match
}

// match is a set of conditions on a node, all of which must hold; an empty field is no condition.
type match struct {
	runtime        v1alpha1.Runtime
	runtimeVersion string // text in the version of status.nodeInfo.containerRuntimeVersion
	osImage        string // text in status.nodeInfo.osImage
	kubeletVersion string // text in status.nodeInfo.kubeletVersion
	hasLabel       string // a label key, whatever its value
	labels         map[string]v1alpha1.LabelValue
}

func (r rule) fits(runtime RuntimeVersion, node *corev1.Node) bool {
	for _, m := range r.anyOf {
		if m.fits(runtime, node) {
			return true
		}
	}
	return false
}

func (m match) fits(runtime RuntimeVersion, node *corev1.Node) bool {
	if m.hasLabel != "" {
		if _, has := node.Labels[m.hasLabel]; !has {
			return false
		}
	}
	return string(m.runtime) == runtime.Name &&
		strings.Contains(runtime.Version, m.runtimeVersion) &&
		strings.Contains(node.Status.NodeInfo.OSImage, m.osImage) &&
		strings.Contains(node.Status.NodeInfo.KubeletVersion, m.kubeletVersion) &&
		HasLabels(node.Labels, m.labels)
}

// HasLabels says whether a node's labels have every one of those that are wanted. Wanting none takes every node.
func HasLabels(have map[string]string, want map[string]v1alpha1.LabelValue) bool {
	for key, value := range want {
		if got, has := have[key]; !has || got != string(value) {
			return false
		}
	}
	return true
}

// customMatch turns a match of the API into one of this package.
func customMatch(in v1alpha1.NodeMatch) match {
	return match{runtime: in.Runtime, runtimeVersion: in.RuntimeVersionContains, osImage: in.OSImageContains,
		kubeletVersion: in.KubeletVersionContains, labels: in.NodeLabels}
}
