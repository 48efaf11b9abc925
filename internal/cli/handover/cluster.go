package handover

import (
	"encoding/json"
	"fmt"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	storagev1 "k8s.io/api/storage/v1"

	"github.com/image-csi/image-csi-operator/internal/contract"
)

// What a handover writes into a cluster, beside the ImageCSIDriver. At its end nothing of it is left.
const (
	// KeepLabel is on the nodes where the legacy driver's pods stay, with the value Keep. Their DaemonSets select it.
	KeepLabel = contract.LegacyDriverLabel
	Keep      = "Keep"

	// Held is the value of the label contract.ExcludeLabel on nodes that node plugins do not get yet, or not again.
	Held = "handover"

	// RecordAnnotation is on the legacy driver's DaemonSets, and has the Record.
	RecordAnnotation = contract.Prefix + "handover"
)

// Record is what the way back needs to know of the time before.
type Record struct {
	// UpdateStrategy is the DaemonSet's own.
	UpdateStrategy appsv1.DaemonSetUpdateStrategy `json:"updateStrategy"`
	// CSIDrivers are the legacy driver's. They go with the ImageCSIDriver, which takes them over.
	CSIDrivers []storagev1.CSIDriver `json:"csiDrivers,omitempty"`
}

// Encode is the record as the annotation's value.
func (r Record) Encode() (string, error) {
	text, err := json.Marshal(r)
	return string(text), err
}

// ReadRecord reads the annotation's value. Without one there is no record.
func ReadRecord(text string) (*Record, error) {
	if text == "" {
		return nil, nil
	}
	var out Record
	if err := json.Unmarshal([]byte(text), &out); err != nil {
		return nil, fmt.Errorf("read the annotation %s: %w", RecordAnnotation, err)
	}
	return &out, nil
}

// Direction is the way that a cluster goes.
type Direction string

// The two ways.
const (
	ToOperator Direction = "ToOperator"
	ToLegacy   Direction = "ToLegacy"
)

// Pod is what a node has of a driver's pods.
type Pod string

// What a node can have.
const (
	// Absent: there is no pod, not even one that ends.
	Absent Pod = "Absent"
	// Present: there is a pod that starts, ends or fails.
	Present Pod = "Present"
	// Ready: there is a pod that is ready and stays.
	Ready Pod = "Ready"
)

// Cluster is what is seen.
type Cluster struct {
	Driver Driver
	// Names are the CSI driver names that the legacy driver serves.
	Names []string
	Sets  []Set
	// Nodes are sorted by name.
	Nodes []Node
	// Lost are the CSIDriver objects that a record has and the cluster has not.
	Lost []string
}

// Driver is the ImageCSIDriver that replaces the legacy driver.
type Driver struct {
	Name string
	// Names are its CSI driver names, the aliases among them.
	Names []string
	// Exists, Ending and Managed are its state. Managed: spec.managementState is, and no other state keeps the operator from it.
	Exists, Ending, Managed bool
	// Unready is why one that does not exist cannot be created; empty if it can.
	Unready string
}

// Set is a DaemonSet of the legacy driver.
type Set struct {
	Namespace, Name string
	// Prepared reports whether its pods select the KeepLabel, and a change of its template restarts none of them.
	Prepared bool
	// Settled reports whether the DaemonSet controller has given every node its pod.
	Settled bool
}

// String is its namespace and name.
func (s Set) String() string { return s.Namespace + "/" + s.Name }

// Node is a node with what it has of both drivers.
type Node struct {
	Name string
	// Keep and Held are the handover's labels. Excluded: an administrator has excluded the node, whatever the handover does.
	Keep, Held, Excluded bool
	// Reports is whether its kubelet reports that the node is ready.
	Reports bool
	// Why a node plugin cannot come here; empty if it can.
	Why string
	// Fits reports whether the legacy driver's DaemonSets take the node, but for the KeepLabel.
	Fits bool

	Ours, Legacy Pod
	// OursRegistered and LegacyRegistered report whether the kubelet has registered every name of either driver. It does not say by whom.
	OursRegistered, LegacyRegistered bool
	// Problem is what the operator says of the node; empty if nothing.
	Problem string
}

// works reports whether a node's plugin is ready and registered. It is ready only while the kubelet has registered it.
func (n Node) works() bool { return n.Ours == Ready && n.OursRegistered }

// served reports whether a node has a node plugin that works, and nothing of the legacy driver.
func (n Node) served() bool { return n.Legacy == Absent && n.works() }

// away reports whether node plugins are to leave a node, or not to come.
func (n Node) away() bool { return n.Held || n.Excluded }

// takes reports whether a node can be handed over now.
func (n Node) takes() bool { return n.Why == "" && !n.Excluded && n.Reports }

// Left is a node that keeps the legacy driver.
type Left struct{ Node, Why string }

func (c Cluster) left() (out []Left) {
	for _, n := range c.Nodes {
		if !n.Keep && n.Legacy == Absent {
			continue
		}
		switch {
		case n.Excluded:
			out = append(out, Left{n.Name, "it has the label " + contract.ExcludeLabel})
		case n.Why != "":
			out = append(out, Left{n.Name, n.Why})
		case !n.Reports:
			out = append(out, Left{n.Name, "its kubelet does not report that the node is ready"})
		}
	}
	return out
}

// unserved are the names of the legacy driver that the ImageCSIDriver does not serve.
func (c Cluster) unserved() []string {
	return slices.DeleteFunc(slices.Clone(c.Names), func(name string) bool { return slices.Contains(c.Driver.Names, name) })
}
