package main

import (
	"context"
	"errors"

	"github.com/image-csi/image-csi-operator/internal/nodeplugin/metrics"
	"github.com/image-csi/image-csi-operator/internal/nodeplugin/pull"
	"github.com/image-csi/image-csi-operator/internal/nodeplugin/server"
	"github.com/image-csi/image-csi-operator/internal/nodeplugin/volume"
)

// countedImages and countedVolumes count failures as the legacy driver does.
type countedImages struct {
	volume.Images
	failures *metrics.Legacy
}

func (c countedImages) Ensure(ctx context.Context, r pull.Request) error {
	err := c.Images.Ensure(ctx, r)
	if err != nil {
		c.failures.WaitFailed()
	}
	return err
}

type countedVolumes struct {
	server.Volumes
	failures *metrics.Legacy
}

func (c countedVolumes) Publish(ctx context.Context, r volume.Request) error {
	err := c.Volumes.Publish(ctx, r)
	var noImage *pull.Error
	if err != nil && !errors.As(err, &noImage) {
		c.failures.MountFailed()
	}
	return err
}

func (c countedVolumes) Unpublish(ctx context.Context, volumeID, target string) error {
	err := c.Volumes.Unpublish(ctx, volumeID, target)
	if err != nil {
		c.failures.UnmountFailed()
	}
	return err
}
