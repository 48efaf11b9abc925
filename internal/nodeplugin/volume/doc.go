// Package volume publishes and unpublishes image volumes on a node, and takes back what no volume uses any more.
//
// It keeps no records of its own. The mount table says which volumes there are and, through the source string of
// each overlay, which image tree each one shows; the image store says which trees are pinned; and the directory of
// a writable volume names its volume. So every step may be repeated, and the process may be killed between any two.
package volume
