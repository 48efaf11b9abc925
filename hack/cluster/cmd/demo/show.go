package main

import (
	"context"
	"fmt"
)

// nodeColumns are what decides a node's class, and the class.
const nodeColumns = `custom-columns=NAME:.metadata.name,RUNTIME:.status.nodeInfo.containerRuntimeVersion,CLASS:.metadata.labels.imagecsi\.dev/node-class`

func showTables(ctx context.Context, k kubectl) error {
	for _, args := range [][]string{
		{"get", "nodes", "-o", nodeColumns},
		{"get", "imagecsidrivers"},
		{"get", "daemonsets", "-n", "image-csi-system"},
	} {
		if err := k.show(ctx, args...); err != nil {
			return err
		}
	}
	return nil
}

func showAll(ctx context.Context, k kubectl) error {
	if err := showTables(ctx, k); err != nil {
		return err
	}
	for _, pod := range []string{"reader-containerd", "reader-crio"} {
		if err := k.show(ctx, "exec", pod, "--", "cat", "/image/hello.txt"); err != nil {
			return err
		}
		if err := k.show(ctx, "exec", pod, "--", "grep", " /image ", "/proc/self/mountinfo"); err != nil {
			return err
		}
	}
	k.hint()
	return nil
}

func (k kubectl) hint() {
	fmt.Printf(`
The cluster is running. Use it:

  export KUBECONFIG=%s
  alias kubectl=%s

Stop it, leaving nothing behind:

  make demo-down
`, k.kubeconfig, k.program)
}
