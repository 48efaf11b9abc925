package cluster

import (
	"context"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/image-csi/image-csi-operator/hack/cluster/image"
)

// pushPause puts the pause image into the cluster's registry.
func (c *Cluster) pushPause(ctx context.Context) error {
	program, err := buildPause(ctx)
	if err != nil {
		return err
	}
	file, err := image.Program(program, "/pause")
	if err != nil {
		return err
	}
	layer, err := image.Layer(file)
	if err != nil {
		return err
	}
	pause, err := image.New(v1.Config{Entrypoint: []string{"/pause"}}, layer)
	if err != nil {
		return err
	}
	return c.Push(ctx, pauseImage, pause)
}
