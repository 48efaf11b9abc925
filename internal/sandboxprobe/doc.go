// Package sandboxprobe makes a sandbox as bubblewrap does, with the same system calls in the same order, and reports whether it came
// about and held. It is run in a container with the restrictions of a pod that makes sandboxes.
//
// Making namespaces takes a process of its own, so the program starts itself twice: once in new namespaces, where it builds the file
// system of the sandbox (Build), and from there once more as the sandbox's first program (Look).
package sandboxprobe
