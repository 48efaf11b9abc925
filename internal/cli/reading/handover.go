package reading

import (
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/image-csi/image-csi-operator/api/v1alpha1"
	"github.com/image-csi/image-csi-operator/internal/cli/handover"
	"github.com/image-csi/image-csi-operator/internal/cli/seen"
	"github.com/image-csi/image-csi-operator/internal/contract"
	"github.com/image-csi/image-csi-operator/internal/operator/migration"
)

// Handover reads all that a handover is decided by. A DaemonSet of the legacy driver may be named, as namespace/name. The driver is
// that of a name of the legacy driver's; wanted stands for it until it exists.
func (r *Reader) Handover(ctx context.Context, named string, wanted *v1alpha1.ImageCSIDriver) (out handover.Objects, err error) {
	if out.Sets, err = r.legacySets(ctx, named); err != nil {
		return out, err
	}
	var drivers v1alpha1.ImageCSIDriverList
	if err := r.client.List(ctx, &drivers); meta.IsNoMatchError(err) {
		return out, fmt.Errorf("install the operator first: the cluster has no ImageCSIDrivers: %w", err)
	} else if err != nil {
		return out, fmt.Errorf("list ImageCSIDrivers: %w", err)
	}
	out.Driver, out.Wanted = driverOf(drivers.Items, out.Sets), wanted
	for _, list := range []func() error{
		func() error { return list(ctx, r, func(l *corev1.NodeList) { out.Nodes = l.Items }) },
		func() error { return list(ctx, r, func(l *storagev1.CSINodeList) { out.CSINodes = l.Items }) },
		func() error { return list(ctx, r, func(l *storagev1.CSIDriverList) { out.CSIDrivers = l.Items }) },
		func() error { return r.podsOf(ctx, &out) },
	} {
		if err := list(); err != nil {
			return out, fmt.Errorf("read what the handover is about: %w", err)
		}
	}
	return out, nil
}

// legacySets returns the DaemonSets of the legacy driver. What may be one is an error: a handover past it would have two drivers.
func (r *Reader) legacySets(ctx context.Context, named string) ([]handover.LegacySet, error) {
	found, doubtful, err := r.LegacyDaemonSets(ctx, named)
	if err != nil {
		return nil, err
	}
	if len(doubtful) > 0 {
		return nil, doubtful[0]
	}
	return found, nil
}

// driverOf returns the ImageCSIDriver that serves a name of the legacy driver's; nil if none does.
func driverOf(drivers []v1alpha1.ImageCSIDriver, sets []handover.LegacySet) *v1alpha1.ImageCSIDriver {
	names := migration.DriverNames()
	for _, set := range sets {
		names = append(slices.Clone(set.Names), names...)
	}
	for _, name := range names {
		for i := range drivers {
			if slices.Contains(seen.NamesOf(&drivers[i]), name) {
				return &drivers[i]
			}
		}
	}
	return nil
}

// podsOf reads the pods of both drivers.
func (r *Reader) podsOf(ctx context.Context, out *handover.Objects) error {
	if out.Driver != nil {
		of := client.MatchingLabels{contract.DriverLabel: out.Driver.Name}
		if err := list(ctx, r, func(l *corev1.PodList) { out.Plugins = l.Items }, of); err != nil {
			return err
		}
	}
	for _, set := range out.Sets {
		selector, err := metav1.LabelSelectorAsSelector(set.Spec.Selector)
		if err != nil {
			return fmt.Errorf("select the pods of DaemonSet %s: %w", set.Key(), err)
		}
		add := func(l *corev1.PodList) { out.Pods = append(out.Pods, l.Items...) }
		if err := list(ctx, r, add, client.InNamespace(set.Namespace), client.MatchingLabelsSelector{Selector: selector}); err != nil {
			return err
		}
	}
	return nil
}
