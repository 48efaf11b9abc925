// Package inspect serves the live view: what the node plugin and its node have at the moment, as the read-only documents of package
// liveview, on the loopback of the pod.
package inspect
