// Package crio is the image store of nodes whose runtime is CRI-O: it reads containers/storage in process.
//
// A tree is pinned by one storage container that refers to the image. CRI-O cannot remove an image that a container
// refers to, and takes no notice of containers that are not its own; docs/decisions/0003-crio-layers.md has the
// evidence. Build with the tag exclude_graphdriver_btrfs.
package crio
