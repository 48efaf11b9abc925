// Package seen holds what was read of a cluster for one answer. Nothing changes it afterwards.
package seen

import (
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"

	"github.com/image-csi/image-csi-operator/api/v1alpha1"
)

// Resource is a kind of object in the words of kubectl.
type Resource string

// The kinds that are read.
const (
	Drivers    Resource = "imagecsidrivers"
	Nodes      Resource = "nodes"
	CSINodes   Resource = "csinodes"
	CSIDrivers Resource = "csidrivers"
	Classes    Resource = "storageclasses"
	Volumes    Resource = "persistentvolumes"
	Namespaces Resource = "namespaces"
	Pods       Resource = "pods"
	Claims     Resource = "persistentvolumeclaims"
	Events     Resource = "events"
	DaemonSets Resource = "daemonsets"
	Policies   Resource = "validatingadmissionpolicies"
	Bindings   Resource = "validatingadmissionpolicybindings"
	// Operators are the Deployments of the operator, and Subscriptions those of OLM.
	Operators     Resource = "deployments"
	Subscriptions Resource = "subscriptions"
)

// Cause is why something was not read.
type Cause string

// The causes.
const (
	// Forbidden: the caller lacks the right.
	Forbidden Cause = "Forbidden"
	// NotServed: the API server does not have the kind.
	NotServed Cause = "NotServed"
)

// Unread is a kind of object that was not read.
type Unread struct {
	// Resource in the words of kubectl.
	Resource Resource `json:"resource"`
	// Namespace in which it was asked for; empty for all of the cluster.
	Namespace string `json:"namespace,omitempty"`
	// Cause is why it was not read.
	Cause Cause `json:"cause"`
}

// Cluster is what was read. Objects of a kind that was not asked for are missing, too.
type Cluster struct {
	// Version of the API server; empty if it was not asked for.
	Version string

	Drivers    []v1alpha1.ImageCSIDriver
	Nodes      []corev1.Node
	CSINodes   []storagev1.CSINode
	CSIDrivers []storagev1.CSIDriver
	Classes    []storagev1.StorageClass
	Volumes    []corev1.PersistentVolume
	Namespaces []corev1.Namespace
	Pods       []corev1.Pod
	Claims     []corev1.PersistentVolumeClaim
	Events     []corev1.Event
	DaemonSets []DaemonSet
	Operators  []Operator
	// Policies and Bindings are the names of admission policies and of the policies that bindings put into effect.
	Policies []string
	Bindings []string

	// Unread is what was asked for and not read.
	Unread []Unread
}

// DaemonSet is one of a driver's, as far as it matters here.
type DaemonSet struct {
	Namespace, Name string
	// Driver is the ImageCSIDriver that it belongs to; empty if it is none of the operator's.
	Driver string
	// Serves is the CSI driver name that its pods are told to serve; empty if that is not known.
	Serves string
}

// Operator is a Deployment of the operator.
type Operator struct {
	Namespace, Name string
	// Available reports whether one of its pods is.
	Available bool
	// Release is the Helm release that it is of, with its namespace; empty if it is of none.
	Release, ReleaseNamespace string
	// CSV is OLM's ClusterServiceVersion, and Extension OLM v1's ClusterExtension, that it is of; empty if it is of none.
	CSV, Extension string
	// Subscriptions of OLM that installed the ClusterServiceVersion.
	Subscriptions []string
}

// Missed returns why a kind was not read; empty if it was.
func (c Cluster) Missed(resource Resource) Cause {
	for _, u := range c.Unread {
		if u.Resource == resource {
			return u.Cause
		}
	}
	return ""
}

// Names returns the CSI driver names of all ImageCSIDrivers, with their aliases.
func (c Cluster) Names() (names []string) {
	for i := range c.Drivers {
		names = append(names, NamesOf(&c.Drivers[i])...)
	}
	return names
}

// NamesOf returns a driver's name and aliases.
func NamesOf(driver *v1alpha1.ImageCSIDriver) []string {
	names := []string{driver.Name}
	for _, alias := range driver.Spec.Aliases {
		names = append(names, string(alias))
	}
	return names
}

// DriverOf returns the ImageCSIDriver that serves a CSI driver name; nil if none does.
func (c Cluster) DriverOf(name string) *v1alpha1.ImageCSIDriver {
	for i := range c.Drivers {
		for _, served := range NamesOf(&c.Drivers[i]) {
			if served == name {
				return &c.Drivers[i]
			}
		}
	}
	return nil
}

// Registered reports whether a node's kubelet has registered a CSI driver name. It knows nothing if the node's CSINode was not read.
func (c Cluster) Registered(node, name string) (registered, known bool) {
	for i := range c.CSINodes {
		if c.CSINodes[i].Name != node {
			continue
		}
		for _, d := range c.CSINodes[i].Spec.Drivers {
			if d.Name == name {
				return true, true
			}
		}
		return false, true
	}
	return false, false
}

// Node returns a node; nil if it was not read.
func (c Cluster) Node(name string) *corev1.Node {
	for i := range c.Nodes {
		if c.Nodes[i].Name == name {
			return &c.Nodes[i]
		}
	}
	return nil
}
