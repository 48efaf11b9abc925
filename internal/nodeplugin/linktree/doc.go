// Package linktree shows a stack of layers as one directory tree: directories of its own with hard links to the layers' files, or
// with copies of them.
//
// What shows is what an overlay of the layers shows (kernel documentation, overlayfs.rst): of equal names the topmost layer's,
// directories merged down to one that is opaque, and nothing that a whiteout removes. Linked files share the layers' inodes, so
// nothing of a file is ever written: a tree of links must be shown read-only. A copy is its owner's.
package linktree
