// Package faults kills the node plugin with SIGKILL between any two side effects of a call, on real container runtimes,
// and wants the next call, or the next start, to put everything right. It also reboots nodes and has runtimes hang.
package faults
