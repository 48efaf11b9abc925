package nodeclass

import (
	"regexp"
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
	plain          bool   // that version is a release's, without what a packager adds
	osImage        string // text in status.nodeInfo.osImage
	kubeletVersion string // text in status.nodeInfo.kubeletVersion
	hasLabel       string // a label key, whatever its value
	labels         map[string]v1alpha1.LabelValue
}

// unknownText is what the kubelet writes for what it cannot find out.
const unknownText = "Unknown"

// fit is an answer to the question whether a node fits a match.
type fit int

// The answers. What a node does not tell at present proves nothing.
const (
	no fit = iota
	maybe
	yes
)

func (r rule) fits(runtime RuntimeVersion, node *corev1.Node) fit {
	best := no
	for _, m := range r.anyOf {
		best = max(best, m.fits(runtime, node))
	}
	return best
}

func (m match) fits(runtime RuntimeVersion, node *corev1.Node) fit {
	if string(m.runtime) != runtime.Name || !HasLabels(node.Labels, m.labels) {
		return no
	}
	info := node.Status.NodeInfo
	return min(
		contains(runtime.Version, m.runtimeVersion),
		released(runtime.Version, m.plain),
		contains(info.OSImage, m.osImage),
		contains(info.KubeletVersion, m.kubeletVersion),
		marked(node, m.hasLabel),
	)
}

// contains reports whether a text of a node's status has a part. The kubelet writes nothing, or the word Unknown, for what
// it cannot find out.
func contains(text, part string) fit {
	switch {
	case strings.Contains(text, part):
		return yes
	case text == "" || strings.EqualFold(text, unknownText):
		return maybe
	}
	return no
}

// release is a version as a project itself gives it. Those who package a runtime append theirs: 1.7.27-0ubuntu1~22.04.1,
// 1.6.20~ds1.
var release = regexp.MustCompile(`^v?[0-9]+([.][0-9]+)+(-(alpha|beta|rc)[.0-9]*)?$`)

// released reports whether a version is a release's, if that is asked for. k0s builds the containerd that it brings from
// the project's own tags.
func released(version string, asked bool) fit {
	switch {
	case !asked || release.MatchString(version):
		return yes
	case version == "" || strings.EqualFold(version, unknownText):
		return maybe
	}
	return no
}

// marked reports whether a node has the label by which a distribution marks its nodes. A mark that is missing may have been
// lost; the labels of an administrator's match have not, they are theirs to give and to take.
func marked(node *corev1.Node, label string) fit {
	if _, has := node.Labels[label]; has || label == "" {
		return yes
	}
	return maybe
}

// HasLabels reports whether a node's labels have every one of those that are wanted. Wanting none takes every node.
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
