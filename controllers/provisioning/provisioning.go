// Package provisioning makes PersistentVolumes for claims that name an image, while anything in the cluster asks for that.
package provisioning

import (
	"context"
	"fmt"
	"log/slog"
	"slices"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	external "sigs.k8s.io/sig-storage-lib-external-provisioner/v13/controller"

	"github.com/image-csi/image-csi-operator/api/v1alpha1"
	"github.com/image-csi/image-csi-operator/controllers/cached"
	"github.com/image-csi/image-csi-operator/controllers/trigger"
	"github.com/image-csi/image-csi-operator/internal/operator/conflicts"
	"github.com/image-csi/image-csi-operator/internal/operator/provision"
	"github.com/image-csi/image-csi-operator/internal/operator/render"
	"github.com/image-csi/image-csi-operator/internal/repeats"
)

// provisionedBy is the annotation of a PersistentVolume that names its provisioner.
const provisionedBy = "pv.kubernetes.io/provisioned-by"

// Reconciler decides for which names PersistentVolumes are made, and runs the controller that makes them. That controller watches
// every claim and every volume of the cluster, so it runs only while a StorageClass or a volume has one of the drivers' names.
type Reconciler struct {
	// Client reads from the cache.
	Client client.Client
	// Direct reads PersistentVolumes.
	Direct client.Reader
	// Kube is for the provisioning controller.
	Kube kubernetes.Interface

	names chan []string
}

// +kubebuilder:rbac:groups=storage.k8s.io,resources=storageclasses,verbs=list;watch
// +kubebuilder:rbac:groups="",resources=persistentvolumeclaims,verbs=list;watch
// +kubebuilder:rbac:groups="",resources=persistentvolumes,verbs=list;watch;create;delete
// +kubebuilder:rbac:groups="",resources=events,verbs=create;patch

// SetupWithManager registers the reconciler that decides for which names to provision, and the controller that does.
func (p *Reconciler) SetupWithManager(mgr ctrl.Manager) error {
	p.names = make(chan []string)
	if err := mgr.Add(p); err != nil {
		return err
	}
	// There is one decision for all drivers and classes.
	one := handler.EnqueueRequestsFromMapFunc(func(context.Context, client.Object) []reconcile.Request {
		return []reconcile.Request{{NamespacedName: types.NamespacedName{Name: "provisioning"}}}
	})
	return ctrl.NewControllerManagedBy(mgr).
		Named("provisioning").
		WithOptions(trigger.OneAtATime()).
		Watches(&v1alpha1.ImageCSIDriver{}, one, builder.WithPredicates(trigger.DriverChanges())).
		Watches(&storagev1.CSIDriver{}, one, builder.WithPredicates(trigger.ForeignChanges())).
		Watches(&storagev1.StorageClass{}, one, builder.WithPredicates(predicate.GenerationChangedPredicate{})).
		Complete(p)
}

// Reconcile passes the names for which to provision to the provisioning controller.
func (p *Reconciler) Reconcile(ctx context.Context, _ ctrl.Request) (ctrl.Result, error) {
	served, err := p.served(ctx)
	if err != nil {
		return ctrl.Result{}, err
	}
	wanted, err := p.wanted(ctx, served)
	if err != nil {
		return ctrl.Result{}, err
	}
	if !wanted {
		served = nil
	}
	select {
	case p.names <- served:
		return ctrl.Result{}, nil
	case <-ctx.Done():
		return ctrl.Result{}, ctx.Err()
	}
}

// served returns the names and aliases of the drivers that are reconciled, sorted.
func (p *Reconciler) served(ctx context.Context) ([]string, error) {
	all, _, err := cached.Conflicts(ctx, p.Client)
	if err != nil {
		return nil, err
	}
	var names []string
	for i := range all.Drivers {
		driver := &all.Drivers[i]
		if conflicts.Leaving(driver) || all.Check(driver) != nil {
			continue
		}
		names = append(names, render.Names(driver)...)
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}

// wanted reports whether anything is to be provisioned, or deleted, under some names.
func (p *Reconciler) wanted(ctx context.Context, names []string) (bool, error) {
	if len(names) == 0 {
		return false, nil
	}
	var classes storagev1.StorageClassList
	if err := p.Client.List(ctx, &classes); err != nil {
		return false, fmt.Errorf("list the storage classes: %w", err)
	}
	for i := range classes.Items {
		if slices.Contains(names, classes.Items[i].Provisioner) {
			return true, nil
		}
	}
	// A class that is gone leaves volumes, which have to go with their claims.
	volumes := &metav1.PartialObjectMetadataList{}
	volumes.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("PersistentVolumeList"))
	if err := p.Direct.List(ctx, volumes); err != nil {
		return false, fmt.Errorf("list the volumes: %w", err)
	}
	for i := range volumes.Items {
		if slices.Contains(names, volumes.Items[i].Annotations[provisionedBy]) {
			return true, nil
		}
	}
	return false, nil
}

// Start runs the provisioning controller, anew whenever the names change, until ctx ends.
func (p *Reconciler) Start(ctx context.Context) error {
	var running []string
	stop := func() {}
	defer func() { stop() }()
	for {
		select {
		case <-ctx.Done():
			return nil
		case names := <-p.names:
			if slices.Equal(names, running) {
				continue
			}
			stop()
			running, stop = names, p.provision(ctx, names)
		}
	}
}

// provision runs the library's controller for some names and returns what ends it.
func (p *Reconciler) provision(ctx context.Context, names []string) (stop func()) {
	if len(names) == 0 {
		return func() {}
	}
	// The library logs every event that it makes, and every try of a claim that it cannot serve.
	log := logr.FromSlogHandler(repeats.New(logr.ToSlogHandler(ctrl.LoggerFrom(ctx).WithName("provisioning")), slog.LevelInfo))
	ctx, cancel := context.WithCancel(klog.NewContext(logr.NewContext(ctx, log), log))
	controller := external.NewProvisionController(ctx, p.Kube, names[0], provisioner{},
		external.AdditionalProvisionerNames(names[1:]),
		external.LeaderElection(false), // the manager has elected
		external.ResyncPeriod(0),       // what its informers saw once, they need not be shown again
	)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		controller.Run(ctx)
	}()
	return func() {
		cancel()
		<-ended
	}
}

// provisioner answers the library's controller.
type provisioner struct{}

var _ external.Provisioner = provisioner{}

// Provision returns a claim's volume. It makes nothing else.
func (provisioner) Provision(_ context.Context, o external.ProvisionOptions) (*corev1.PersistentVolume, external.ProvisioningState, error) {
	volume, err := provision.Volume(o.PVName, o.PVC, o.StorageClass)
	return volume, external.ProvisioningFinished, err
}

// Delete has nothing to remove: the image stays where it is.
func (provisioner) Delete(context.Context, *corev1.PersistentVolume) error { return nil }
