package storm_test

import (
	"context"

	"github.com/image-csi/image-csi-operator/internal/simulatedfleet"
	"github.com/image-csi/image-csi-operator/test/internal/installation"
)

// fleet is a cluster whose nodes run the node plugins. What the API server does not answer, they try again.
type fleet struct {
	*cluster
	*simulatedfleet.Fleet
}

// fleet starts to play; the test's end ends it.
func (c *cluster) fleet() *fleet {
	played, stop := simulatedfleet.Start(context.Background(), c.Client, installation.Namespace, func(error) {})
	c.Cleanup(stop)
	return &fleet{c, played}
}

// with returns how many nodes have a ready node plugin with an image.
func (f *fleet) with(image string) int {
	count := 0
	for _, pod := range f.Pods() {
		if pod.Spec.Containers[0].Image == image && simulatedfleet.Ready(&pod) {
			count++
		}
	}
	return count
}

// twice returns the nodes that have had more than one pod with an image.
func (f *fleet) twice(image string) []string {
	var out []string
	for node, made := range f.Made(image) {
		if made > 1 {
			out = append(out, node)
		}
	}
	return out
}
