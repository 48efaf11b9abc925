// Package volume publishes and unpublishes image volumes on a node, and releases what no volume uses any more.
//
// It keeps no records of its own. The mount table lists the volumes and, in the source string of each overlay, the image tree
// that each one shows; the image store lists the pinned trees; and the directory of a writable volume names its volume.
// Therefore every step may be repeated, and the process may be killed between any two.
//
// A publish pins a tree and then mounts it, while a sweep unpins trees that nothing shows. What keeps the two apart is a lock for
// each tree, which publishes share and an unpin holds alone, and a count of unpins. A publish notes the count before it looks for
// the image. If the count is the same once the publish has the lock, the pin that it found is still there, and an unpin has to wait
// until the mount shows the tree. Otherwise the publish pins again. An unpin looks for uses once more under the lock, and counts
// itself before it lets go. So the common case, in which nothing is unpinned meanwhile, costs no second call to the runtime.
package volume
