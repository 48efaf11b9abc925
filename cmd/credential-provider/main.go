// Command credential-provider runs the node's credential provider programs for the node plugin, in a container without
// privileges.
package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/image-csi/image-csi-operator/internal/contract"
	"github.com/image-csi/image-csi-operator/internal/credentialprovider"
)

func main() {
	syscall.Umask(0o077) // what this process makes is its own, sockets included
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	if err := command().ExecuteContext(ctx); err != nil {
		slog.New(slog.NewJSONHandler(os.Stderr, nil)).Error("the credential providers cannot be served", "error", err)
		os.Exit(1)
	}
}

func command() *cobra.Command {
	var config credentialprovider.Config
	socket, level := contract.ProviderSocket, "info"
	cmd := &cobra.Command{
		Use:           "credential-provider",
		Short:         "Run the node's credential provider programs for the node plugin",
		Args:          cobra.NoArgs,
		SilenceUsage:  true,
		SilenceErrors: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var minimum slog.Level
			if err := minimum.UnmarshalText([]byte(level)); err != nil {
				return fmt.Errorf("--%s: %w", contract.FlagLogLevel, err)
			}
			config.Logger = slog.New(slog.NewJSONHandler(os.Stderr, &slog.HandlerOptions{Level: minimum}))
			return serve(cmd.Context(), config, socket)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&config.Path, contract.FlagProviderConfig, "", "a CredentialProviderConfig of the kubelet (JSON or YAML), or a directory of them")
	flags.StringVar(&config.BinDir, contract.FlagProviderBinDir, "", "the directory of the providers' programs")
	flags.StringVar(&socket, contract.FlagProviderSocket, socket, "the socket to serve")
	flags.StringVar(&level, contract.FlagLogLevel, level, "error, info or debug")
	for _, required := range []string{contract.FlagProviderConfig, contract.FlagProviderBinDir} {
		_ = cmd.MarkFlagRequired(required) // the flag exists
	}
	return cmd
}

// serve answers until ctx ends. A wrong configuration is logged at start, and is the answer to every question until it is
// corrected.
func serve(ctx context.Context, config credentialprovider.Config, socket string) error {
	providers := credentialprovider.New(config)
	if err := providers.Check(); err != nil {
		config.Logger.Error("no credential provider will be asked", "error", err)
	}
	listener, err := credentialprovider.Listen(socket)
	if err != nil {
		return fmt.Errorf("listening at %s: %w", socket, err)
	}
	server := credentialprovider.NewServer(providers, config.Logger)
	stop := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer stop()
	config.Logger.Info("serving", "socket", socket, "config", config.Path, "binDir", config.BinDir)
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
