// Package ociruntime stands between a container runtime and its OCI runtime, and takes out of a container's configuration what that
// cannot do: for CRI-O on a machine whose root lacks CAP_SYS_RESOURCE what only that capability allows, and for Debian's crun a version
// of the specification that it does not know. containerd needs no help with the former: it has a setting for the one part and asks only
// for capabilities it has.
package ociruntime
