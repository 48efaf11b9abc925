// Package claims settles what several ImageCSIDriver objects of one cluster may ask for: each CSI driver name has one
// owner, and all agree on the node classes, because a node has one class.
package claims
