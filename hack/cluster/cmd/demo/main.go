// Command demo brings up a two-node Kubernetes on this machine, installs the operator and reads files out of images
// in pods; without root it shows the operator at work on simulated nodes.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/image-csi/image-csi-operator/hack/cluster"
)

func main() {
	cluster.Init()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) != 1 {
		return errors.New("say what to do: up or down")
	}
	switch args[0] {
	case "up":
		return up(ctx, steps{started: time.Now()})
	case "down":
		return down(ctx)
	default:
		return fmt.Errorf("%q is not something the demo does: say up or down", args[0])
	}
}
