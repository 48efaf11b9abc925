package legacymetrics

import (
	"context"
	"errors"
	"time"

	"github.com/image-csi/image-csi-operator/internal/nodeplugin/pull"
	"github.com/image-csi/image-csi-operator/internal/nodeplugin/server"
	"github.com/image-csi/image-csi-operator/internal/nodeplugin/volume"
)

// Observer returns an observer of pulls that counts them here as well.
func (m *Metrics) Observer(other pull.Observer) pull.Observer {
	if m == nil {
		return other
	}
	return countedPulls{other, m}
}

type countedPulls struct {
	pull.Observer
	metrics *Metrics
}

func (c countedPulls) PullEnded(end pull.Ended) {
	c.Observer.PullEnded(end)
	c.metrics.pullEnded(end, time.Now())
}

// Images returns images of which publishes are counted that end before the image is there.
func (m *Metrics) Images(images volume.Images) volume.Images {
	if m == nil {
		return images
	}
	return countedImages{images, m}
}

type countedImages struct {
	volume.Images
	metrics *Metrics
}

func (c countedImages) Ensure(ctx context.Context, r pull.Request) error {
	err := c.Images.Ensure(ctx, r)
	if err != nil {
		c.metrics.failed("pull-async-wait")
	}
	return err
}

// Volumes returns volumes of which failed unpublishes are counted, and publishes that fail although the image is there.
func (m *Metrics) Volumes(volumes server.Volumes) server.Volumes {
	if m == nil {
		return volumes
	}
	return countedVolumes{volumes, m}
}

type countedVolumes struct {
	server.Volumes
	metrics *Metrics
}

func (c countedVolumes) Publish(ctx context.Context, r volume.Request) error {
	err := c.Volumes.Publish(ctx, r)
	var noImage *pull.Error
	if err != nil && !errors.As(err, &noImage) {
		c.metrics.failed("mount")
	}
	return err
}

func (c countedVolumes) Unpublish(ctx context.Context, volumeID, target string) error {
	err := c.Volumes.Unpublish(ctx, volumeID, target)
	if err != nil {
		c.metrics.failed("unmount")
	}
	return err
}
