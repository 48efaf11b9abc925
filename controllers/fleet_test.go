package controllers_test

import (
	"context"
	"maps"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/image-csi/image-csi-operator/internal/simulatedfleet"
)

// fleet is a cluster whose nodes run the node plugins.
type fleet struct {
	*cluster
	*simulatedfleet.Fleet
}

// fleet starts to play; the test's end ends it.
func (c *cluster) fleet() *fleet {
	c.Helper()
	played, stop := simulatedfleet.Start(context.Background(), c.Client, namespace, func(err error) {
		if !apierrors.IsConflict(err) && !apierrors.IsNotFound(err) && !apierrors.IsAlreadyExists(err) {
			c.Log("the fleet tries again after", err)
		}
	})
	c.Cleanup(stop)
	return &fleet{c, played}
}

// images returns the image on each node, in the order of the nodes' names.
func (f *fleet) images() []string {
	pods := f.Pods()
	var out []string
	for _, node := range slices.Sorted(maps.Keys(pods)) {
		out = append(out, pods[node].Spec.Containers[0].Image)
	}
	return out
}

// uids returns the UID of the pod on each node.
func (f *fleet) uids() map[string]string {
	out := map[string]string{}
	for node, pod := range f.Pods() {
		out[node] = string(pod.UID)
	}
	return out
}
