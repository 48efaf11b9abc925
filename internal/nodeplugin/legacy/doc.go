// Package legacy looks after what the legacy driver, warm-metal's container image CSI driver, left on a node.
//
// Its mounts serve the pods that have them until those pods are gone. Its snapshots and storage containers are removed when no
// pod can need them any more. As for volumes of this driver, the mount table and the runtime are the only sources.
//
// The day on which this ends, this folder goes, with the files that import it: the two leftovers.go of imagestore, which know
// their stores' internals, and lines of server, metrics and cmd/node-plugin. The linter lets no other file import it. What calls
// it in package volume stands in volume/legacy.go.
package legacy
