// Package confinement takes from the process, once it has started, what it no longer needs, and reports whether that holds on
// every thread.
package confinement
