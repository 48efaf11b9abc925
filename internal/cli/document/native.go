package document

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/image-csi/image-csi-operator/internal/cli/seen"
)

// NativeVerdict is whether Kubernetes' own image volumes could take a volume's place.
type NativeVerdict string

// The verdicts.
const (
	// NativePossible: they could, as the pod is.
	NativePossible NativeVerdict = "Possible"
	// NativeWithChanges: they could, if what the reasons name is changed or accepted.
	NativeWithChanges NativeVerdict = "WithChanges"
	// NativeNeedsDriver: the volume needs this driver.
	NativeNeedsDriver NativeVerdict = "NeedsDriver"
	// NativeUnknown: something was not read.
	NativeUnknown NativeVerdict = "Unknown"
)

// NativeReasonID names a reason; a script may depend on it.
type NativeReasonID string

// The reasons.
const (
	NativeWritable NativeReasonID = "Writable"
	NativeClaim    NativeReasonID = "Claim"
	NativeSecret   NativeReasonID = "Credentials"
	NativeRules    NativeReasonID = "Rules"
	NativeNodes    NativeReasonID = "Nodes"
	NativeUnread   NativeReasonID = "Unread"
)

// NativeReason is one reason of a verdict.
type NativeReason struct {
	ID      NativeReasonID `json:"id"`
	Message string         `json:"message"`
}

// WrittenVolume is an entry of a pod's volumes.
type WrittenVolume struct {
	Name  string       `json:"name"`
	Image WrittenImage `json:"image"`
}

// WrittenImage is Kubernetes' own image volume.
type WrittenImage struct {
	Reference  string            `json:"reference"`
	PullPolicy corev1.PullPolicy `json:"pullPolicy"`
}

// NativeVolume is the verdict on one image volume of a pod.
type NativeVolume struct {
	// Namespace and Pod that use the volume, Name of the volume in the pod, and Claim that it comes from.
	Namespace string `json:"namespace"`
	Pod       string `json:"pod"`
	Name      string `json:"name"`
	Claim     string `json:"claim,omitempty"`
	// Image as the manifest names it.
	Image string `json:"image,omitempty"`
	// Verdict with its Reasons, the weightiest first.
	Verdict NativeVerdict  `json:"verdict"`
	Reasons []NativeReason `json:"reasons,omitempty"`
	// Write is what the pod's manifest would have in place of the volume; nothing for one that needs this driver, or is not known.
	Write *WrittenVolume `json:"write,omitempty"`
}

// Native shows which volumes need this driver.
type Native struct {
	header
	// Kubernetes is the API server's version.
	Kubernetes string         `json:"kubernetes"`
	Items      []NativeVolume `json:"items"`
	Unread     []seen.Unread  `json:"unread,omitempty"`
}

// NewNative returns the document.
func NewNative(kubernetes string, items []NativeVolume, unread []seen.Unread) Native {
	return Native{headerOf("Native"), kubernetes, items, unread}
}

// Print implements Document.
func (n Native) Print(p *Printer) {
	rows := make([][]string, 0, len(n.Items))
	for i := range n.Items {
		o := &n.Items[i]
		rows = append(rows, []string{o.Namespace, o.Pod, o.Name, o.Image, string(o.Verdict), o.reasonIDs(), o.Claim})
	}
	p.tableOr("NAMESPACE POD VOLUME IMAGE NATIVE WHY +CLAIM", rows, "No image volumes.")
	n.printReasons(p)
	n.printWritten(p)
	p.unread(n.Unread)
}

func (o *NativeVolume) reasonIDs() string {
	ids := make([]string, 0, len(o.Reasons))
	for _, r := range o.Reasons {
		if len(ids) == 0 || ids[len(ids)-1] != string(r.ID) {
			ids = append(ids, string(r.ID))
		}
	}
	return strings.Join(ids, ",")
}

// printReasons has each reason once, with the volume for which it was first found: the pods of a Deployment share theirs.
func (n Native) printReasons(p *Printer) {
	printed := map[NativeReason]bool{}
	for i := range n.Items {
		for _, r := range n.Items[i].Reasons {
			if !printed[r] {
				printed[r] = true
				p.Line("Why      %s (as %s/%s, volume %s): %s", r.ID, n.Items[i].Namespace, n.Items[i].Pod, n.Items[i].Name, r.Message)
			}
		}
	}
}

// printWritten has each volume to write once.
func (n Native) printWritten(p *Printer) {
	printed := map[WrittenVolume]bool{}
	for i := range n.Items {
		if w := n.Items[i].Write; w != nil && !printed[*w] {
			printed[*w] = true
			p.Line("Write    %s", w.yaml())
		}
	}
}

// yaml is an entry of a pod's volumes, in one line.
func (w *WrittenVolume) yaml() string {
	return fmt.Sprintf("- {name: %s, image: {reference: %q, pullPolicy: %s}}", w.Name, w.Image.Reference, w.Image.PullPolicy)
}

// Names implements Document: those that Kubernetes could show.
func (n Native) Names() (names []string) {
	for i := range n.Items {
		if name := "pod/" + n.Items[i].Pod; n.Items[i].Write != nil && (len(names) == 0 || names[len(names)-1] != name) {
			names = append(names, name)
		}
	}
	return names
}
