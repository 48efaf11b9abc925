// Package conflicts resolves conflicts between ImageCSIDrivers, and with the CSIDriver objects of others. Each CSI driver
// name has one owner, and all drivers agree on the node classes, because a node has one class.
package conflicts
