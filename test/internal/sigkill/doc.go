// Package sigkill kills a process between two of its side effects: it follows the process's system calls from outside
// (ptrace(2)) and counts those that change something. Nothing in the process knows of it.
package sigkill
