package main

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/image-csi/image-csi-operator/internal/contract"
	"github.com/image-csi/image-csi-operator/internal/nodeplugin/imagestore"
	"github.com/image-csi/image-csi-operator/internal/nodeplugin/imagestore/containerd"
)

// openStore opens the image store of the node's runtime.
func openStore(_ context.Context, o *options, log *slog.Logger) (imagestore.Store, error) {
	switch o.runtime {
	case contract.RuntimeContainerd:
		return containerd.Open(containerd.Config{Endpoint: o.runtimeEndpoint, Driver: o.driverName, Logger: log})
	default:
		return nil, fmt.Errorf("this build has no image store for runtime %q", o.runtime)
	}
}
