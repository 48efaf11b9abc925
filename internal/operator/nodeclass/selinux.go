package nodeclass

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/sets"
)

// SELinuxPolicy is whose SELinux policy a node has, by its operating system.
type SELinuxPolicy string

// The policies.
const (
	// PolicyUnknown: the node does not report its operating system at present.
	PolicyUnknown SELinuxPolicy = ""
	// PolicyCommon is Fedora's and Red Hat's, or none. There, container_t may not mount and spc_t may.
	PolicyCommon SELinuxPolicy = "Common"
	// PolicyOwn is the operating system's own. Bottlerocket's lets container_t mount where the node plugin needs it, and
	// its documentation advises against any other label. Talos' knows no spc_t.
	PolicyOwn SELinuxPolicy = "Own"
)

// Parts of the osImage of nodes.
const (
	bottlerocketOS = "Bottlerocket"
	talosOS        = "Talos ("
)

// PolicyOf returns whose SELinux policy a node has.
func PolicyOf(node *corev1.Node) SELinuxPolicy {
	image := node.Status.NodeInfo.OSImage
	switch best := max(contains(image, bottlerocketOS), contains(image, talosOS)); best {
	case yes:
		return PolicyOwn
	case no:
		return PolicyCommon
	}
	return PolicyUnknown
}

// policyOf returns the policy of the nodes that a match selects, as far as the match shows it.
func policyOf(m match) SELinuxPolicy {
	// Also "Talos", which is less than the table asks for.
	if strings.Contains(m.osImage, bottlerocketOS) || (m.osImage != "" && strings.HasPrefix(m.osImage, strings.TrimSuffix(talosOS, " ("))) {
		return PolicyOwn
	}
	return PolicyCommon
}

// On returns the class for nodes with some policies. If any has a policy of its own, that decides, because the type that the
// others need does not exist there. If no node reports its policy, the class keeps the one that its node plugins are made for:
// before, which is PolicyUnknown if there are none.
func (c Class) On(policies sets.Set[SELinuxPolicy], before SELinuxPolicy) Class {
	switch {
	case policies.Has(PolicyOwn):
		c.Policy = PolicyOwn
	case policies.Has(PolicyCommon):
		c.Policy = PolicyCommon
	case before != PolicyUnknown:
		c.Policy = before
	}
	return c
}
