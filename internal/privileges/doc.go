// Package privileges lists what the node plugin needs of the kernel: capabilities and system calls. The operator makes the
// pods' security contexts from these lists, and the process confines itself to them once it has started.
package privileges
