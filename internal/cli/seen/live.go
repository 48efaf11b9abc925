package seen

import "github.com/image-csi/image-csi-operator/internal/liveview"

// NodePlugin is the pod of a node plugin.
type NodePlugin struct {
	Namespace, Pod, Node string
	// Driver is the ImageCSIDriver that it belongs to, and Revision the form of its pod.
	Driver, Revision string
	// Port of the loopback at which it serves the live view; 0 if it does not.
	Port int32
	// Unasked is why it cannot be asked; empty if it can.
	Unasked string
}

// Part is a part of what a node plugin shows.
type Part string

// The parts.
const (
	PartInfo    Part = "info"
	PartVolumes Part = "volumes"
	PartImages  Part = "images"
	PartPulls   Part = "pulls"
	PartOrphans Part = "orphans"
)

// View is what a node plugin answered.
type View struct {
	Plugin NodePlugin
	// Failure is why it did not answer, or not all; empty if it did. Cause is Forbidden if the caller may not ask.
	Failure string
	Cause   Cause

	Info    liveview.Info
	Volumes []liveview.Volume
	Images  []liveview.Image
	Pulls   []liveview.Pull
	Orphans []liveview.Orphan
}
