package document

import (
	"fmt"
	"slices"

	"github.com/image-csi/image-csi-operator/internal/cli/seen"
)

// Why is why a pod or claim waits.
type Why struct {
	header
	// Subject as the caller named it: pod/NAME or pvc/NAME.
	Subject   string `json:"subject"`
	Namespace string `json:"namespace"`
	// Summary is the answer in a sentence.
	Summary string `json:"summary"`
	// Volumes are the image volumes of the pod, or those of the claim in pods.
	Volumes []Volume `json:"volumes"`
	// Causes are what was found, the first one first to cure.
	Causes []Cause `json:"causes"`
	// Notes are what does not keep the pod waiting.
	Notes  []string      `json:"notes,omitempty"`
	Unread []seen.Unread `json:"unread,omitempty"`
}

// Cause is one reason, with its cure.
type Cause struct {
	// ID names the kind of cause; a script may depend on it.
	ID string `json:"id"`
	// Volume in the pod; empty if it is about the whole pod or claim.
	Volume string `json:"volume,omitempty"`
	// Cause in a sentence.
	Cause string `json:"cause"`
	// Action is whether somebody has to act.
	Action Action `json:"action"`
	// Do are commands and changes that cure it, in this order.
	Do []string `json:"do,omitempty"`
	// See is the page, with its anchor, that has more.
	See string `json:"see"`
	// Error is what the node plugin, the kubelet or the API server said.
	Error string `json:"error,omitempty"`
}

// Action is whether a cause needs somebody to act.
type Action string

// The values of Action.
const (
	// ActionNeeded: it stays until somebody acts.
	ActionNeeded Action = "Needed"
	// ActionNone: it ends by itself.
	ActionNone Action = "None"
)

// NeedsAction reports whether somebody has to act.
func (w Why) NeedsAction() bool {
	return slices.ContainsFunc(w.Causes, func(c Cause) bool { return c.Action == ActionNeeded })
}

// NewWhy completes a document.
func NewWhy(w Why) Why {
	w.header = headerOf("Why")
	if w.Volumes == nil {
		w.Volumes = []Volume{}
	}
	if w.Causes == nil {
		w.Causes = []Cause{}
	}
	return w
}

// Print implements Document.
func (w Why) Print(p *Printer) {
	p.Line("%s", w.Summary)
	if len(w.Volumes) > 0 {
		rows := make([][]string, 0, len(w.Volumes))
		for i := range w.Volumes {
			v := &w.Volumes[i]
			state := string(v.State)
			if v.Times > 1 {
				state += fmt.Sprintf(" (%d times)", v.Times)
			}
			rows = append(rows, []string{v.Name, v.Image, string(v.Access), state, v.Pod, v.Claim, v.Driver})
		}
		p.Table("VOLUME IMAGE ACCESS STATE +POD +CLAIM +DRIVER", rows)
	}
	for _, c := range w.Causes {
		p.cause(c)
	}
	for _, note := range w.Notes {
		p.Line("Note     %s", note)
	}
	p.unread(w.Unread)
}

func (p *Printer) cause(c Cause) {
	about := ""
	if c.Volume != "" {
		about = "volume " + c.Volume + ": "
	}
	p.Line("Cause    %s%s (%s)", about, c.Cause, c.ID)
	label := "Do"
	for _, do := range c.Do {
		p.Line("%-8s %s", label, do)
		label = ""
	}
	if c.Error != "" {
		p.Line("Error    %s", c.Error)
	}
	p.Line("See      %s", c.See)
}

// Names implements Document.
func (w Why) Names() []string { return []string{w.Subject} }
