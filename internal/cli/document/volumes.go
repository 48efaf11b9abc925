package document

import "github.com/image-csi/image-csi-operator/internal/cli/seen"

// Access is whether a pod may write to a volume.
type Access string

// The accesses.
const (
	ReadOnly  Access = "ReadOnly"
	ReadWrite Access = "ReadWrite"
)

// VolumeState is what the API server shows of a volume.
type VolumeState string

// The states.
const (
	// VolumeMounted: the pod has it.
	VolumeMounted VolumeState = "Mounted"
	// VolumeWaiting: nothing is known to be wrong yet.
	VolumeWaiting VolumeState = "Waiting"
	// VolumeUnbound: its claim has no PersistentVolume.
	VolumeUnbound VolumeState = "Unbound"
	// VolumeFailed: its latest mount failed.
	VolumeFailed VolumeState = "Failed"
	// VolumeEnded: its pod has ended.
	VolumeEnded VolumeState = "Ended"
)

// Volume is one image volume of a pod.
type Volume struct {
	// Namespace and Pod that use the volume.
	Namespace string `json:"namespace"`
	Pod       string `json:"pod"`
	// Name of the volume in the pod.
	Name string `json:"name"`
	// Claim that it comes from; empty for an inline volume.
	Claim string `json:"claim,omitempty"`
	// Node of the pod; empty while it has none.
	Node string `json:"node,omitempty"`
	// Driver is the CSI driver's name; empty if the caller may not read it.
	Driver string `json:"driver,omitempty"`
	// Image as the manifest names it.
	Image  string `json:"image,omitempty"`
	Access Access `json:"access"`
	// Form and SizeLimit as the manifest has them.
	Form      string `json:"form,omitempty"`
	SizeLimit string `json:"sizeLimit,omitempty"`
	// State by what the API server holds.
	State VolumeState `json:"state"`
	// Message is the error of the latest mount.
	Message string `json:"message,omitempty"`
	// Times is how often the mount failed with that error.
	Times int32 `json:"times,omitempty"`
}

// Volumes lists image volumes.
type Volumes struct {
	header
	Items  []Volume      `json:"items"`
	Unread []seen.Unread `json:"unread,omitempty"`
}

// NewVolumes returns the document.
func NewVolumes(items []Volume, unread []seen.Unread) Volumes {
	return Volumes{headerOf("Volumes"), items, unread}
}

// Print implements Document.
func (v Volumes) Print(p *Printer) {
	rows := make([][]string, 0, len(v.Items))
	for i := range v.Items {
		o := &v.Items[i]
		rows = append(rows, []string{o.Namespace, o.Pod, o.Name, o.Node, o.Image, string(o.Access), string(o.State), o.Claim, o.Driver, o.Form, o.SizeLimit})
	}
	p.tableOr("NAMESPACE POD VOLUME NODE IMAGE ACCESS STATE +CLAIM +DRIVER +FORM +LIMIT", rows, "No image volumes.")
	p.unread(v.Unread)
}

// Names implements Document.
func (v Volumes) Names() (names []string) {
	for i := range v.Items {
		if name := "pod/" + v.Items[i].Pod; len(names) == 0 || names[len(names)-1] != name {
			names = append(names, name)
		}
	}
	return names
}
