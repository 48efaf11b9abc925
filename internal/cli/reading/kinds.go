package reading

import (
	"context"
	"fmt"
	"slices"
	"strings"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/image-csi/image-csi-operator/api/v1alpha1"
	"github.com/image-csi/image-csi-operator/internal/cli/seen"
	"github.com/image-csi/image-csi-operator/internal/contract"
)

// Read reads kinds of objects. Those of namespaces are read in the one that is named; empty stands for all. What the caller may not
// read, or the cluster does not have, is in the answer's Unread. An error means that the cluster was not reached.
func (r *Reader) Read(ctx context.Context, namespace string, kinds ...seen.Resource) (seen.Cluster, error) {
	var cluster seen.Cluster
	for _, kind := range kinds {
		cause, err := causeOf(r.read(ctx, &cluster, namespace, kind))
		if err != nil {
			return seen.Cluster{}, fmt.Errorf("list %s: %w", kind, err)
		}
		if cause != "" {
			cluster.Unread = append(cluster.Unread, seen.Unread{Resource: kind, Namespace: in(namespace, kind), Cause: cause})
		}
	}
	return cluster, nil
}

// in returns the namespace in which a kind is read.
func in(namespace string, kind seen.Resource) string {
	if slices.Contains([]seen.Resource{seen.Pods, seen.Claims, seen.Events}, kind) {
		return namespace
	}
	return ""
}

// causeOf sorts an answer of the API server that is no failure to reach it.
func causeOf(err error) (seen.Cause, error) {
	switch {
	case err == nil:
		return "", nil
	case apierrors.IsForbidden(err):
		return seen.Forbidden, nil
	case meta.IsNoMatchError(err), apierrors.IsNotFound(err):
		return seen.NotServed, nil
	default:
		return "", err
	}
}

// read reads one kind into the cluster.
func (r *Reader) read(ctx context.Context, cluster *seen.Cluster, namespace string, kind seen.Resource) error {
	here := client.InNamespace(namespace)
	switch kind {
	case seen.Drivers:
		var list v1alpha1.ImageCSIDriverList
		err := r.client.List(ctx, &list)
		cluster.Drivers = list.Items
		return err
	case seen.Nodes:
		var list corev1.NodeList
		err := r.client.List(ctx, &list)
		cluster.Nodes = list.Items
		return err
	case seen.Namespaces:
		var list corev1.NamespaceList
		err := r.client.List(ctx, &list)
		cluster.Namespaces = list.Items
		return err
	case seen.Pods:
		var list corev1.PodList
		err := r.client.List(ctx, &list, here)
		cluster.Pods = list.Items
		return err
	case seen.Claims:
		var list corev1.PersistentVolumeClaimList
		err := r.client.List(ctx, &list, here)
		cluster.Claims = list.Items
		return err
	case seen.Volumes:
		var list corev1.PersistentVolumeList
		err := r.client.List(ctx, &list)
		cluster.Volumes = list.Items
		return err
	case seen.Events:
		var list corev1.EventList
		err := r.client.List(ctx, &list, here)
		cluster.Events = list.Items
		return err
	default:
		return r.readOthers(ctx, cluster, kind)
	}
}

// readOthers reads the kinds of storage and admission, and DaemonSets.
func (r *Reader) readOthers(ctx context.Context, cluster *seen.Cluster, kind seen.Resource) error {
	switch kind {
	case seen.CSINodes:
		var list storagev1.CSINodeList
		err := r.client.List(ctx, &list)
		cluster.CSINodes = list.Items
		return err
	case seen.CSIDrivers:
		var list storagev1.CSIDriverList
		err := r.client.List(ctx, &list)
		cluster.CSIDrivers = list.Items
		return err
	case seen.Classes:
		var list storagev1.StorageClassList
		err := r.client.List(ctx, &list)
		cluster.Classes = list.Items
		return err
	case seen.DaemonSets:
		var list appsv1.DaemonSetList
		err := r.client.List(ctx, &list)
		for i := range list.Items {
			cluster.DaemonSets = append(cluster.DaemonSets, daemonSetOf(&list.Items[i]))
		}
		return err
	case seen.Policies:
		var list admissionv1.ValidatingAdmissionPolicyList
		err := r.client.List(ctx, &list)
		for i := range list.Items {
			cluster.Policies = append(cluster.Policies, list.Items[i].Name)
		}
		return err
	case seen.Bindings:
		var list admissionv1.ValidatingAdmissionPolicyBindingList
		err := r.client.List(ctx, &list)
		for i := range list.Items {
			cluster.Bindings = append(cluster.Bindings, list.Items[i].Spec.PolicyName)
		}
		return err
	default:
		return fmt.Errorf("%s is nothing that this program reads", kind)
	}
}

func daemonSetOf(set *appsv1.DaemonSet) seen.DaemonSet {
	return seen.DaemonSet{Namespace: set.Namespace, Name: set.Name, Driver: set.Labels[contract.DriverLabel], Serves: servedBy(set)}
}

// servedBy returns the CSI driver name in the arguments of a DaemonSet's containers, as this project's and the legacy driver's have
// it.
func servedBy(set *appsv1.DaemonSet) string {
	for i := range set.Spec.Template.Spec.Containers {
		for _, argument := range set.Spec.Template.Spec.Containers[i].Args {
			for _, name := range []string{contract.DefaultDriverName, contract.LegacyEarlierDriverName} {
				if strings.HasSuffix(argument, name) {
					return name
				}
			}
		}
	}
	return ""
}
