// Package images proves on real container runtimes, one node for each and for each of containerd's snapshotters, that
// every kind of image is shown as it is or refused in one sentence.
package images
