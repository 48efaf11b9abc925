// Package bundle makes what somebody hands over for support: files of what was read of a cluster, without what could be a secret, and no
// more than a bounded number of bytes.
package bundle
