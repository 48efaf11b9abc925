// Command node-plugin is the CSI node plugin: it mounts container images as volumes of the pods on its node.
package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/image-csi/image-csi-operator/internal/repeats"
)

// The main thread must never enter the host's mount namespace, because /proc/self shows its view.
func init() { runtime.LockOSThread() }

// gcPercent is the growth of the heap between two collections, in percent of what is in use. An idle node plugin uses three
// megabytes, so a collection costs less than a mount, and half of Go's default keeps it some megabytes smaller on every node.
const gcPercent = 50

func main() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	if err := command().ExecuteContext(ctx); err != nil {
		slog.New(slog.NewJSONHandler(os.Stderr, nil)).Error("the node plugin ends", "error", err)
		os.Exit(1)
	}
}

func command() *cobra.Command {
	o := defaults()
	cmd := &cobra.Command{
		Use:           "node-plugin",
		Short:         "Mount container images as volumes of the pods on this node",
		Args:          cobra.NoArgs,
		SilenceUsage:  true,
		SilenceErrors: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.complete(); err != nil {
				return err
			}
			log := slog.New(repeats.New(slog.NewJSONHandler(os.Stderr, &slog.HandlerOptions{Level: o.level}), slog.LevelWarn))
			p, err := start(cmd.Context(), o, log)
			if err != nil && cmd.Context().Err() != nil {
				log.Info("stopped before it served", "cause", err.Error())
				return nil //nolint:nilerr // it was asked to stop
			}
			if err != nil {
				return fmt.Errorf("starting: %w", err)
			}
			return p.run(cmd.Context())
		},
	}
	o.register(cmd.Flags())
	cmd.AddCommand(probeCommand())
	return cmd
}
