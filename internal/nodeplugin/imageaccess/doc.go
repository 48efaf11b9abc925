// Package imageaccess records, on one node, which credentials a registry accepted for which images, so that an image that
// was pulled with one caller's credentials is not given to another. The kubelet does the same for its own pulls (KEP-2535:
// https://kep.k8s.io/2535).
//
// A record is about a repository and those of its images that have been on the node, by their digests. It is no proof that
// an image is there now. It holds no credentials, only hashes of them under a key of the node's own. See
// docs/decisions/0020-access-to-cached-images.md.
package imageaccess
