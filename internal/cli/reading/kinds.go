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
	readers := map[seen.Resource]func() error{
		seen.Drivers: func() error {
			return list(ctx, r, func(l *v1alpha1.ImageCSIDriverList) { cluster.Drivers = l.Items })
		},
		seen.Nodes:      func() error { return list(ctx, r, func(l *corev1.NodeList) { cluster.Nodes = l.Items }) },
		seen.Namespaces: func() error { return list(ctx, r, func(l *corev1.NamespaceList) { cluster.Namespaces = l.Items }) },
		seen.Pods:       func() error { return list(ctx, r, func(l *corev1.PodList) { cluster.Pods = l.Items }, here) },
		seen.Claims: func() error {
			return list(ctx, r, func(l *corev1.PersistentVolumeClaimList) { cluster.Claims = l.Items }, here)
		},
		seen.Volumes:    func() error { return list(ctx, r, func(l *corev1.PersistentVolumeList) { cluster.Volumes = l.Items }) },
		seen.Events:     func() error { return list(ctx, r, func(l *corev1.EventList) { cluster.Events = l.Items }, here) },
		seen.CSINodes:   func() error { return list(ctx, r, func(l *storagev1.CSINodeList) { cluster.CSINodes = l.Items }) },
		seen.CSIDrivers: func() error { return list(ctx, r, func(l *storagev1.CSIDriverList) { cluster.CSIDrivers = l.Items }) },
		seen.Classes:    func() error { return list(ctx, r, func(l *storagev1.StorageClassList) { cluster.Classes = l.Items }) },
		seen.DaemonSets: func() error {
			return list(ctx, r, func(l *appsv1.DaemonSetList) {
				for i := range l.Items {
					cluster.DaemonSets = append(cluster.DaemonSets, daemonSetOf(&l.Items[i]))
				}
			})
		},
		seen.Operators: func() error { return r.operators(ctx, cluster) },
		seen.Policies: func() error {
			return list(ctx, r, func(l *admissionv1.ValidatingAdmissionPolicyList) {
				for i := range l.Items {
					cluster.Policies = append(cluster.Policies, l.Items[i].Name)
				}
			})
		},
		seen.Bindings: func() error {
			return list(ctx, r, func(l *admissionv1.ValidatingAdmissionPolicyBindingList) {
				for i := range l.Items {
					cluster.Bindings = append(cluster.Bindings, l.Items[i].Spec.PolicyName)
				}
			})
		},
	}
	reader, known := readers[kind]
	if !known {
		return fmt.Errorf("%s is nothing that this program reads", kind)
	}
	return reader()
}

// list reads a list of objects and has it kept.
func list[L any, P interface {
	*L
	client.ObjectList
}](ctx context.Context, r *Reader, keep func(*L), options ...client.ListOption) error {
	var items L
	err := r.client.List(ctx, P(&items), options...)
	keep(&items)
	return err
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
