// Command kubectl-imagecsi is the plugin `kubectl imagecsi`: it shows what drivers, nodes and volumes do, and why a pod waits.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/image-csi/image-csi-operator/internal/cli/command"
)

// version is set by the linker.
var version = "dev"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	streams := genericiooptions.IOStreams{In: os.Stdin, Out: os.Stdout, ErrOut: os.Stderr}
	code := command.Run(ctx, streams, version, os.Args[1:])
	stop()
	os.Exit(int(code))
}
