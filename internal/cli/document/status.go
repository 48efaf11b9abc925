package document

import (
	"fmt"
	"slices"
	"strings"

	"github.com/image-csi/image-csi-operator/api/v1alpha1"
	"github.com/image-csi/image-csi-operator/internal/cli/seen"
)

// DriverState is a driver's worst condition in a word.
type DriverState string

// The states, the worst first.
const (
	DriverDegraded    DriverState = "Degraded"
	DriverUnavailable DriverState = "Unavailable"
	DriverUnknown     DriverState = "Unknown"
	DriverProgressing DriverState = "Progressing"
	DriverAvailable   DriverState = "Available"
	DriverUnmanaged   DriverState = "Unmanaged"
)

// NeedsAction reports whether somebody has to act.
func (s DriverState) NeedsAction() bool {
	return s == DriverDegraded || s == DriverUnavailable || s == DriverUnknown
}

// DriverStatus is one ImageCSIDriver.
type DriverStatus struct {
	Name    string   `json:"name"`
	Aliases []string `json:"aliases,omitempty"`
	// State is the worst condition; Reason, Message and For, how long it has been so, are that condition's.
	State   DriverState `json:"state"`
	Reason  string      `json:"reason,omitempty"`
	Message string      `json:"message"`
	For     string      `json:"for,omitempty"`

	Nodes       v1alpha1.NodeCounts         `json:"nodes"`
	Rollout     *v1alpha1.RolloutStatus     `json:"rollout,omitempty"`
	NodeClasses []v1alpha1.NodeClassStatus  `json:"nodeClasses"`
	Unsupported []v1alpha1.UnsupportedNodes `json:"unsupported,omitempty"`
	Problems    []v1alpha1.NodeProblem      `json:"problems,omitempty"`
}

// Status is what the operator reports of its drivers.
type Status struct {
	header
	// Message is set where there is no driver to show.
	Message string         `json:"message,omitempty"`
	Drivers []DriverStatus `json:"drivers"`
	Unread  []seen.Unread  `json:"unread,omitempty"`
}

// NewStatus returns the document.
func NewStatus(message string, drivers []DriverStatus, unread []seen.Unread) Status {
	if drivers == nil {
		drivers = []DriverStatus{}
	}
	return Status{headerOf("Status"), message, drivers, unread}
}

// NeedsAction reports whether somebody has to act.
func (s Status) NeedsAction() bool {
	return s.Message != "" || slices.ContainsFunc(s.Drivers, func(d DriverStatus) bool { return d.State.NeedsAction() })
}

// AllAvailable reports whether there are drivers, and all of them are available.
func (s Status) AllAvailable() bool {
	return len(s.Drivers) > 0 && !slices.ContainsFunc(s.Drivers, func(d DriverStatus) bool { return d.State != DriverAvailable })
}

// Print implements Document.
func (s Status) Print(p *Printer) {
	if s.Message != "" {
		p.Line("%s", s.Message)
	}
	for i := range s.Drivers {
		if i > 0 {
			p.Line("")
		}
		p.driver(&s.Drivers[i])
	}
	p.unread(s.Unread)
}

func (p *Printer) driver(d *DriverStatus) {
	also := ""
	if len(d.Aliases) > 0 {
		also = "  also " + strings.Join(d.Aliases, ", ")
	}
	p.Line("%s%s", d.Name, also)
	state := string(d.State)
	if d.Reason != "" {
		state += " (" + d.Reason + ")"
	}
	if d.For != "" {
		state += " for " + d.For
	}
	p.Line("  State    %s: %s", state, d.Message)
	p.Line("  Nodes    %d/%d ready, %d unsupported, %d waiting, %d in the cluster", d.Nodes.Ready, d.Nodes.Eligible, d.Nodes.Unsupported, d.Nodes.Waiting, d.Nodes.Total)
	if r := d.Rollout; r != nil {
		p.Line("  Rollout  %s: %d/%d updated; %s", r.Phase, r.Updated, r.Nodes, r.Message)
		if r.Failure != nil {
			p.Line("           failed on node %s: %s: %s", r.Failure.Node, r.Failure.Reason, r.Failure.Message)
		}
	}
	if len(d.NodeClasses) > 0 {
		rows := make([][]string, 0, len(d.NodeClasses))
		for i := range d.NodeClasses {
			c := &d.NodeClasses[i]
			rows = append(rows, []string{c.Name, fmt.Sprint(c.Nodes), fmt.Sprint(c.Ready), fmt.Sprint(c.Updated), string(c.MountMode),
				strings.Join(c.RuntimeVersions, ","), c.DaemonSet, c.Revision})
		}
		p.Table("CLASS NODES READY UPDATED MODE RUNTIMES +DAEMONSET +REVISION", rows)
	}
	if len(d.Problems) > 0 {
		rows := make([][]string, 0, len(d.Problems))
		for _, problem := range d.Problems {
			rows = append(rows, []string{problem.Node, string(problem.Reason), problem.Message})
		}
		p.Table("NODE REASON WHAT_TO_DO", rows)
	}
	switch {
	case len(d.Problems) > 0:
		p.Line("More: kubectl imagecsi nodes --problems, docs/operator.md#problems-of-nodes")
	case d.State.NeedsAction():
		p.Line("More: docs/operator.md#conditions")
	}
}

// Names implements Document.
func (s Status) Names() (names []string) {
	for i := range s.Drivers {
		names = append(names, "imagecsidriver/"+s.Drivers[i].Name)
	}
	return names
}
