package document

import (
	"fmt"
	"slices"
	"strings"

	"github.com/image-csi/image-csi-operator/api/v1alpha1"
	"github.com/image-csi/image-csi-operator/internal/cli/seen"
)

// NodeReadiness is whether a driver serves a node.
type NodeReadiness string

// The values.
const (
	// NodeReady: the kubelet has registered the driver.
	NodeReady NodeReadiness = "Ready"
	// NodeNotReady: the kubelet has not, and should.
	NodeNotReady NodeReadiness = "NotReady"
	// NodeNotEligible: the driver does not select the node, or cannot serve it.
	NodeNotEligible NodeReadiness = "NotEligible"
	// NodeReadinessUnknown: the caller may not read what shows it.
	NodeReadinessUnknown NodeReadiness = "Unknown"
)

// NodeDown is the problem of a node that does not report, whatever its drivers are. The operator has no such reason: it waits for the node.
const NodeDown v1alpha1.ProblemReason = "NodeDown"

// NodeDriver is a driver on a node.
type NodeDriver struct {
	Name      string        `json:"name"`
	Readiness NodeReadiness `json:"readiness"`
	// Reason and Message are the problem that the driver has there.
	Reason  v1alpha1.ProblemReason `json:"reason,omitempty"`
	Message string                 `json:"message,omitempty"`
}

// Node is one node of the cluster.
type Node struct {
	Name string `json:"name"`
	// Class in the node's label; empty for none.
	Class string `json:"class,omitempty"`
	// Runtime and OSImage as the kubelet reports them.
	Runtime string `json:"runtime"`
	OSImage string `json:"osImage,omitempty"`
	// Drivers of the cluster, each with what it is on this node.
	Drivers []NodeDriver `json:"drivers"`
}

// HasProblem reports whether a driver has a problem there.
func (n Node) HasProblem() bool {
	for _, d := range n.Drivers {
		if d.Reason != "" {
			return true
		}
	}
	return false
}

// Nodes lists nodes.
type Nodes struct {
	header
	Items  []Node        `json:"items"`
	Unread []seen.Unread `json:"unread,omitempty"`
}

// NewNodes returns the document.
func NewNodes(items []Node, unread []seen.Unread) Nodes {
	if items == nil {
		items = []Node{}
	}
	return Nodes{headerOf("Nodes"), items, unread}
}

// Print implements Document.
func (n Nodes) Print(p *Printer) {
	rows := make([][]string, 0, len(n.Items))
	for i := range n.Items {
		o := &n.Items[i]
		rows = append(rows, []string{o.Name, o.Class, o.Runtime, o.readiness(), o.problem(), o.OSImage, o.messages()})
	}
	p.tableOr("NODE CLASS RUNTIME READY PROBLEM +OS +MESSAGE", rows, "No nodes.")
	p.unread(n.Unread)
}

// readiness is a driver's word, or how many of several serve the node.
func (n Node) readiness() string {
	if len(n.Drivers) == 1 {
		return string(n.Drivers[0].Readiness)
	}
	ready, eligible := 0, 0
	for _, d := range n.Drivers {
		if d.Readiness == NodeReady {
			ready++
		}
		if d.Readiness != NodeNotEligible {
			eligible++
		}
	}
	return fmt.Sprintf("%d/%d", ready, eligible)
}

// problem names what is wrong there, once for all drivers.
func (n Node) problem() string {
	var found []string
	for _, d := range n.Drivers {
		if d.Reason != "" && !slices.Contains(found, string(d.Reason)) {
			found = append(found, string(d.Reason))
		}
	}
	return strings.Join(found, ",")
}

func (n Node) messages() string {
	var found []string
	for _, d := range n.Drivers {
		if d.Message != "" {
			found = append(found, d.Message)
		}
	}
	return strings.Join(found, "; ")
}

// Names implements Document.
func (n Nodes) Names() (names []string) {
	for i := range n.Items {
		names = append(names, "node/"+n.Items[i].Name)
	}
	return names
}
