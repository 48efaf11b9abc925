package document

import (
	"fmt"
	"strings"
	"time"

	"github.com/image-csi/image-csi-operator/internal/cli/seen"
	"github.com/image-csi/image-csi-operator/internal/liveview"
)

// maxCell bounds a text of a node plugin in a table, in runes. JSON has all of it.
const maxCell = 256

// Silent is a node plugin that did not answer, or not all.
type Silent struct {
	Node   string `json:"node"`
	Driver string `json:"driver,omitempty"`
	Pod    string `json:"pod"`
	// Reason that it gave, or that was found.
	Reason string `json:"reason"`
}

// silent has the reader know which nodes an answer lacks.
func (p *Printer) silent(all []Silent) {
	const named = 3
	if len(all) == 0 {
		return
	}
	var some []string
	for _, s := range all[:min(len(all), named)] {
		some = append(some, fmt.Sprintf("%s (%s)", s.Node, short(s.Reason)))
	}
	if more := len(all) - named; more > 0 {
		some = append(some, fmt.Sprintf("and %d more", more))
	}
	p.Line("Note     %d of the node plugins did not answer: %s", len(all), strings.Join(some, ", "))
}

// short cuts a text of a node plugin.
func short(text string) string {
	if runes := []rune(text); len(runes) > maxCell {
		return string(runes[:maxCell]) + "…"
	}
	return text
}

// shortDigest is enough of a digest to find it.
func shortDigest(digest string) string {
	const enough = len("sha256:") + 12
	if len(digest) > enough {
		return digest[:enough]
	}
	return digest
}

// bytesOf writes an amount of bytes for people; empty if it is not known.
func bytesOf(amount *int64) string {
	if amount == nil {
		return ""
	}
	value, units := float64(*amount), []string{"", "Ki", "Mi", "Gi", "Ti", "Pi"}
	for value >= 1024 && len(units) > 1 {
		value, units = value/1024, units[1:]
	}
	if value < 10 && units[0] != "" {
		return fmt.Sprintf("%.1f%s", value, units[0])
	}
	return fmt.Sprintf("%.0f%s", value, units[0])
}

// doneOf writes how much of a pull is done.
func doneOf(pull liveview.Pull) string {
	if pull.DoneBytes == nil || pull.TotalBytes == nil || *pull.TotalBytes <= 0 {
		return ""
	}
	return fmt.Sprintf("%d%% of %s", int64(100*(float64(*pull.DoneBytes)/float64(*pull.TotalBytes))), bytesOf(pull.TotalBytes))
}

// timeOf writes a time; empty if it is not known.
func timeOf(at *time.Time) string {
	if at == nil {
		return ""
	}
	return at.UTC().Format(time.RFC3339)
}

// elapsed writes seconds for people.
func elapsed(seconds int64) string {
	switch {
	case seconds < 120:
		return fmt.Sprintf("%ds", seconds)
	case seconds < 7200:
		return fmt.Sprintf("%dm%02ds", seconds/60, seconds%60)
	default:
		return fmt.Sprintf("%dh%02dm", seconds/3600, seconds/60%60)
	}
}

// Image is an image that node plugins keep.
type Image struct {
	Tree string `json:"tree"`
	// Image and Digest are those for which a node pinned the tree; empty if none knows.
	Image  string `json:"image,omitempty"`
	Digest string `json:"digest,omitempty"`
	// SizeBytes as one of the nodes' runtime counts it.
	SizeBytes *int64 `json:"sizeBytes,omitempty"`
	// Nodes that have it, Volumes that show it there, and Unpinned nodes, on which nothing keeps it from garbage collection.
	Nodes    []string `json:"nodes"`
	Volumes  int      `json:"volumes"`
	Unpinned []string `json:"unpinned,omitempty"`
}

// Images lists the images that node plugins keep.
type Images struct {
	header
	Items  []Image  `json:"items"`
	Silent []Silent `json:"silent,omitempty"`
}

// NewImages returns the document.
func NewImages(items []Image, silent []Silent) Images {
	return Images{headerOf("Images"), items, silent}
}

// Print implements Document.
func (d Images) Print(p *Printer) {
	rows := make([][]string, 0, len(d.Items))
	for i := range d.Items {
		o := &d.Items[i]
		rows = append(rows, []string{short(o.Image), shortDigest(o.Digest), fmt.Sprint(len(o.Nodes)), fmt.Sprint(o.Volumes), bytesOf(o.SizeBytes),
			short(o.Tree), short(strings.Join(o.Unpinned, ","))})
	}
	p.tableOr("IMAGE DIGEST NODES VOLUMES SIZE +TREE +UNPINNED", rows, "No images.")
	p.silent(d.Silent)
}

// Names implements Document.
func (d Images) Names() (names []string) {
	for i := range d.Items {
		names = append(names, "image/"+d.Items[i].Image)
	}
	return names
}

// Pull is a pull on a node.
type Pull struct {
	Node   string `json:"node"`
	Driver string `json:"driver"`
	liveview.Pull
	// BytesPerSecond since the answer before; missing in the first one.
	BytesPerSecond *int64 `json:"bytesPerSecond,omitempty"`
}

// Pulls lists the pulls of nodes.
type Pulls struct {
	header
	Items  []Pull   `json:"items"`
	Silent []Silent `json:"silent,omitempty"`
}

// NewPulls returns the document.
func NewPulls(items []Pull, silent []Silent) Pulls { return Pulls{headerOf("Pulls"), items, silent} }

// Print implements Document.
func (d Pulls) Print(p *Printer) {
	rows := make([][]string, 0, len(d.Items))
	for i := range d.Items {
		o := &d.Items[i]
		rate := bytesOf(o.BytesPerSecond)
		if rate != "" {
			rate += "/s"
		}
		rows = append(rows, []string{o.Node, short(o.Image), short(o.Pod), string(o.State), doneOf(o.Pull), rate, elapsed(o.Seconds), o.Driver})
	}
	p.tableOr("NODE IMAGE FOR STATE DONE RATE ELAPSED +DRIVER", rows, "No pulls.")
	p.silent(d.Silent)
}

// Names implements Document.
func (d Pulls) Names() (names []string) {
	for i := range d.Items {
		names = append(names, "image/"+d.Items[i].Image)
	}
	return names
}

// LiveVolume is a volume as its node plugin sees it, with its pod as the API server does.
type LiveVolume struct {
	// Namespace and PodName are empty if the caller may not list pods, or the pod is gone.
	Namespace string `json:"namespace,omitempty"`
	PodName   string `json:"podName,omitempty"`
	liveview.Volume
}

// podOf names the pod of a volume.
func (v LiveVolume) podOf() string {
	if v.PodName == "" {
		return "uid " + v.Pod
	}
	return v.Namespace + "/" + v.PodName
}

// NodePlugin is what the node plugin of one driver showed of its node.
type NodePlugin struct {
	Driver    string `json:"driver"`
	Namespace string `json:"namespace"`
	Pod       string `json:"pod"`
	Revision  string `json:"revision,omitempty"`
	// Reason is why it did not answer, or not all; empty if it did.
	Reason  string            `json:"reason,omitempty"`
	Info    *liveview.Info    `json:"info,omitempty"`
	Volumes []LiveVolume      `json:"volumes"`
	Images  []liveview.Image  `json:"images"`
	Pulls   []liveview.Pull   `json:"pulls"`
	Orphans []liveview.Orphan `json:"orphans"`
}

// NodeView is what there is on one node.
type NodeView struct {
	header
	Name    string        `json:"name"`
	Plugins []NodePlugin  `json:"plugins"`
	Unread  []seen.Unread `json:"unread,omitempty"`
}

// NewNodeView returns the document.
func NewNodeView(name string, plugins []NodePlugin, unread []seen.Unread) NodeView {
	return NodeView{headerOf("NodeView"), name, plugins, unread}
}

// NeedsAction reports whether a node plugin is not ready or does not answer, or there is none.
func (d NodeView) NeedsAction() bool {
	for _, plugin := range d.Plugins {
		if plugin.Reason != "" || (plugin.Info != nil && plugin.Info.NotReady != "") {
			return true
		}
	}
	return len(d.Plugins) == 0
}

// Names implements Document.
func (d NodeView) Names() []string { return []string{"node/" + d.Name} }
