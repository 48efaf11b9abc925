package cached

import (
	"context"
	"fmt"

	storagev1 "k8s.io/api/storage/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/image-csi/image-csi-operator/api/v1alpha1"
	"github.com/image-csi/image-csi-operator/internal/operator/conflicts"
	"github.com/image-csi/image-csi-operator/internal/operator/ownership"
)

// Conflicts returns everything that a driver may conflict with, and the CSIDriver objects among it.
func Conflicts(ctx context.Context, from client.Reader) (conflicts.Cluster, []storagev1.CSIDriver, error) {
	var drivers v1alpha1.ImageCSIDriverList
	if err := from.List(ctx, &drivers); err != nil {
		return conflicts.Cluster{}, nil, fmt.Errorf("list ImageCSIDrivers: %w", err)
	}
	var objects storagev1.CSIDriverList
	if err := from.List(ctx, &objects); err != nil {
		return conflicts.Cluster{}, nil, fmt.Errorf("list CSIDrivers: %w", err)
	}
	return conflicts.Cluster{Drivers: drivers.Items, Foreign: conflicts.Foreign(objects.Items, ownership.Operator)}, objects.Items, nil
}
