package reading

import (
	"context"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/image-csi/image-csi-operator/internal/cli/seen"
)

// operatorLabels are those of the operator's Deployment, whatever installed it.
const (
	operatorLabel = "app.kubernetes.io/name"
	operatorName  = "image-csi-operator"
)

// operators reads the Deployments of the operator, with what installed them.
func (r *Reader) operators(ctx context.Context, cluster *seen.Cluster) error {
	return list(ctx, r, func(l *appsv1.DeploymentList) {
		for i := range l.Items {
			cluster.Operators = append(cluster.Operators, operatorOf(&l.Items[i]))
		}
	}, client.MatchingLabels{operatorLabel: operatorName})
}

func operatorOf(d *appsv1.Deployment) seen.Operator {
	o := seen.Operator{Namespace: d.Namespace, Name: d.Name, Available: d.Status.AvailableReplicas > 0,
		Release: d.Annotations[ReleaseName], ReleaseNamespace: d.Annotations[ReleaseNamespace], CSV: d.Labels["olm.owner"]}
	if d.Labels["olm.operatorframework.io/owner-kind"] == "ClusterExtension" {
		o.Extension = d.Labels["olm.operatorframework.io/owner-name"]
	}
	return o
}

// Subscriptions adds the OLM subscriptions to the operators that OLM has installed; nothing is asked for others.
func (r *Reader) Subscriptions(ctx context.Context, cluster *seen.Cluster) error {
	for i := range cluster.Operators {
		o := &cluster.Operators[i]
		if o.CSV == "" {
			continue
		}
		var found unstructured.UnstructuredList
		found.SetGroupVersionKind(schema.GroupVersionKind{Group: "operators.coreos.com", Version: "v1alpha1", Kind: "SubscriptionList"})
		cause, err := causeOf(r.client.List(ctx, &found, client.InNamespace(o.Namespace)))
		if err != nil {
			return fmt.Errorf("list the subscriptions of OLM in namespace %s: %w", o.Namespace, err)
		}
		if cause != "" {
			cluster.Unread = append(cluster.Unread, seen.Unread{Resource: seen.Subscriptions, Namespace: o.Namespace, Cause: cause})
		}
		for j := range found.Items {
			if csv, _, _ := unstructured.NestedString(found.Items[j].Object, "status", "installedCSV"); csv == o.CSV {
				o.Subscriptions = append(o.Subscriptions, found.Items[j].GetName())
			}
		}
	}
	return nil
}
