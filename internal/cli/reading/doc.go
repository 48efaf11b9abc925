// Package reading reads a cluster for `kubectl imagecsi`, as far as its caller may, and reports what the caller may not. It changes
// nothing.
package reading
