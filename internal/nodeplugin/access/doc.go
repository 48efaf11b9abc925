// Package access remembers, on one node, which credentials a registry accepted for which images, so that an image that
// was pulled with one caller's credentials is not handed to another (KEP-2535 does the same for the kubelet's pulls:
// https://kep.k8s.io/2535).
//
// A record is about a repository and the images of it that have been on the node, by their digests. It never says that
// an image is there now. It holds no credentials, only hashes of them under a key of the node's own. See
// docs/decisions/0020-access-to-cached-images.md.
package access
