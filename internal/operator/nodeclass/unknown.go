package nodeclass

import "github.com/image-csi/image-csi-operator/api/v1alpha1"

// Unknown is what a node does not report at present, in words for the cluster's administrator. The kubelet writes
// containerd://Unknown while containerd does not answer it (Kubernetes, pkg/kubelet/nodestatus/setters.go), for example if it
// reports while containerd restarts. A node that has a class keeps it: this is no proof that it has another runtime, or none.
type Unknown struct {
	// Message describes what was found.
	Message string

	// remedy is for a node without a class.
	remedy string
}

// Error returns the message and what follows from it.
func (u *Unknown) Error() string {
	return u.Message + ". The node keeps its class and its node plugin meanwhile; look at the runtime and the kubelet on the node."
}

// unsupported returns what the same means for a node without a class: it gets none.
func (u *Unknown) unsupported() *Unsupported {
	return &Unsupported{Reason: v1alpha1.ProblemRuntimeUnknown, Message: u.Message, Remedy: u.remedy}
}
