// Package containerd is the image store of nodes whose runtime is containerd.
//
// A tree is pinned by one lease that holds one View snapshot of the image's top layer. containerd's garbage collector
// keeps what a lease names and everything beneath it (docs/garbage-collection.md there); the lease's labels are the
// only record of the pin. Names of both follow from driver and tree, so that a second pin finds the first.
package containerd
