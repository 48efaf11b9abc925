// Package confinement takes from the process, once it has started, what it no longer needs, and reports whether that, and what its
// container is meant to run under, holds on every thread.
package confinement
