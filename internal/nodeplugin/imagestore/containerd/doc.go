// Package containerd is the image store of nodes whose runtime is containerd.
//
// A tree is pinned by a View snapshot of the image's top layer. The snapshot is labelled as a root of containerd's
// garbage collector, which keeps it and everything beneath it (docs/garbage-collection.md there). One
// write makes a pin, wholly or not at all. Its name follows from driver and tree, so that a second pin finds the first.
package containerd
