// Package volume publishes and unpublishes image volumes on a node, and releases what no volume uses any more.
//
// It keeps no records of its own. The mount table lists the volumes and, in the source string of each overlay, the image tree
// that each one shows; the image store lists the pinned trees; and the directory of a writable volume names its volume.
// Therefore every step may be repeated, and the process may be killed between any two.
package volume
