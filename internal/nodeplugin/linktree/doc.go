// Package linktree shows a stack of layers as one directory tree: directories of its own, and hard links to the layers' files.
//
// What shows is what an overlay of the layers shows (kernel documentation, overlayfs.rst): of equal names the topmost layer's,
// directories merged down to one that is opaque, and nothing that a whiteout removes. Files share the layers' inodes, so nothing
// of a file is ever written: a tree must be shown read-only.
package linktree
