// Package hostmount mounts layer directories as overlay file systems in one mount namespace, the host's or the
// process's own, and is the only package of the node plugin that makes mount system calls.
//
// Mounts are made on a few operating system threads that belong to the engine for good: each one stops sharing its
// file system attributes with the process and, in Nsenter mode, enters the host's mount namespace. Nothing is ever
// executed, and no path is resolved in the plugin's own container. See mount_namespaces(7), setns(2) and the
// kernel's Documentation/filesystems/overlayfs.rst.
package hostmount
