// The program of the virtual machines that the kernel tests boot: first process, node plugin and pod, by its first
// argument. It prints what held and what did not, and switches the machine off.
package main

import (
	"fmt"
	"os"
)

// The parts that the program plays.
const (
	roleHost = "host"   // the first process, once the disk is the root
	roleNode = "plugin" // the node plugin, in its container
	rolePod  = "pod"    // a pod's program, in its container
)

// program is where the disk holds this program, and the containers too.
const program = "/usr/bin/guest"

func main() {
	var err error
	switch role, rest := role(); role {
	case roleHost:
		host() // does not return
	case roleNode:
		err = nodePlugin(rest)
	case rolePod:
		err = pod(rest)
	default:
		if err = boot(); err != nil {
			say("FAILED to boot: %v", err)
			switchOff()
		}
	}
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}

func role() (string, []string) {
	if len(os.Args) < 2 {
		return "", nil
	}
	return os.Args[1], os.Args[2:]
}
