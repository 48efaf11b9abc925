// Package ociruntime stands between CRI-O and the OCI runtime on a machine whose root lacks CAP_SYS_RESOURCE. It takes
// out of a container's configuration what only that capability allows. containerd needs no such help: it has a setting
// for the first of the two and asks only for capabilities it has.
package ociruntime
