// Package registry is a small OCI registry on disk: it serves, after a restart, what was pushed to it before.
package registry
