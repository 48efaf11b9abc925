package controllers

import (
	"context"
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/image-csi/image-csi-operator/api/v1alpha1"
	"github.com/image-csi/image-csi-operator/internal/contract"
	"github.com/image-csi/image-csi-operator/internal/operator/claims"
	"github.com/image-csi/image-csi-operator/internal/operator/nodeclass"
	"github.com/image-csi/image-csi-operator/internal/operator/placement"
	"github.com/image-csi/image-csi-operator/internal/operator/render"
	"github.com/image-csi/image-csi-operator/internal/operator/status"
)

// observation is one look at the cluster, and what happened since.
type observation struct {
	status.Observation
	// drivers are all of the cluster's.
	drivers []v1alpha1.ImageCSIDriver
	// nodes as the cache holds them: shared, not to be changed. Node i of the status is nodes[i].
	nodes []corev1.Node
	// kinds are the optional ones that the cluster has; pending is when to look again for others, or 0.
	kinds   []render.OptionalKind
	pending time.Duration
	// existing are the driver's objects.
	existing []render.Object
	// volumes of all drivers; nil until somebody asks for them.
	volumes volumeIndex
}

func (o *observation) anyWaiting() bool {
	for i := range o.Nodes {
		if o.Nodes[i].UsedBy != "" {
			return true
		}
	}
	return false
}

// read looks at everything that matters for one driver. It returns nil if there is no such driver.
func (r *ImageCSIDriverReconciler) read(ctx context.Context, name string) (seen *observation, err error) {
	ctx, span := r.phase(ctx, "read")
	defer end(span, &err)
	seen = &observation{}
	var drivers v1alpha1.ImageCSIDriverList
	if err := r.Client.List(ctx, &drivers); err != nil {
		return nil, fmt.Errorf("list ImageCSIDrivers: %w", err)
	}
	seen.drivers = drivers.Items
	for i := range seen.drivers {
		if seen.drivers[i].Name == name {
			seen.Driver = seen.drivers[i].DeepCopy()
		}
	}
	if seen.Driver == nil {
		r.remember(name, nil)
		return nil, nil
	}
	seen.Names = render.Names(seen.Driver)
	seen.Table = nodeclass.NewTable(seen.Driver.Spec.NodeClasses)
	if !claims.Leaving(seen.Driver) {
		seen.Refusal = claims.Check(seen.Driver, seen.drivers)
	}
	if err := r.readNodes(ctx, seen); err != nil {
		return nil, err
	}
	return seen, r.readObjects(ctx, seen)
}

// readNodes finds every node's place and the drivers that its kubelet has registered.
func (r *ImageCSIDriverReconciler) readNodes(ctx context.Context, seen *observation) error {
	var nodes corev1.NodeList
	if err := r.Client.List(ctx, &nodes, client.UnsafeDisableDeepCopy); err != nil {
		return fmt.Errorf("list nodes: %w", err)
	}
	var csiNodes storagev1.CSINodeList
	if err := r.Client.List(ctx, &csiNodes, client.UnsafeDisableDeepCopy); err != nil {
		return fmt.Errorf("list CSINodes: %w", err)
	}
	byName := make(map[string]*storagev1.CSINode, len(csiNodes.Items))
	for i := range csiNodes.Items {
		byName[csiNodes.Items[i].Name] = &csiNodes.Items[i]
	}
	plan := placement.ByDriver(seen.Driver, len(claims.Holding(seen.drivers)) > 0)
	seen.nodes = nodes.Items
	seen.Nodes = make([]status.Node, len(nodes.Items))
	for i := range nodes.Items {
		node := &nodes.Items[i]
		seen.Nodes[i] = status.Node{Node: plan.Of(node), Registered: registeredOn(node, byName[node.Name])}
	}
	return nil
}

// reports says whether a node's kubelet reports, and since when. A node that says nothing about it is taken to.
func reports(node *corev1.Node) (is bool, since time.Time) {
	for _, condition := range node.Status.Conditions {
		if condition.Type == corev1.NodeReady {
			return condition.Status == corev1.ConditionTrue, condition.LastTransitionTime.Time
		}
	}
	return true, time.Time{}
}

// registeredOn returns the drivers that a node's kubelet has registered, given the CSINode of the node's name, or nil.
// That of an earlier node of the same name stays until the garbage collector comes by, and says nothing about this one.
func registeredOn(node *corev1.Node, csiNode *storagev1.CSINode) sets.Set[string] {
	if csiNode == nil {
		return nil
	}
	if owner := ownerNode(csiNode); owner != "" && owner != node.UID {
		return nil
	}
	return registeredDrivers(csiNode)
}

// ownerNode returns the UID of the node that a CSINode belongs to; empty if it does not say. The kubelet says it.
func ownerNode(csiNode *storagev1.CSINode) types.UID {
	for _, owner := range csiNode.OwnerReferences {
		if owner.Kind == nodeKind {
			return owner.UID
		}
	}
	return ""
}

// nodeKind is the kind of nodes in owner references.
const nodeKind = "Node"

func registeredDrivers(node *storagev1.CSINode) sets.Set[string] {
	names := sets.New[string]()
	for _, driver := range node.Spec.Drivers {
		names.Insert(driver.Name)
	}
	return names
}

// readObjects finds the driver's objects by their label. Pods are shared with the cache, as nodes are: there is one for
// each node, and nobody changes them.
func (r *ImageCSIDriverReconciler) readObjects(ctx context.Context, seen *observation) error {
	ours := client.MatchingLabels{contract.DriverLabel: seen.Driver.Name}
	here := client.InNamespace(r.Settings.Namespace)
	var (
		csiDrivers      storagev1.CSIDriverList
		serviceAccounts corev1.ServiceAccountList
		daemonSets      appsv1.DaemonSetList
		pods            corev1.PodList
	)
	for list, where := range map[client.ObjectList][]client.ListOption{
		&csiDrivers: {ours}, &serviceAccounts: {ours, here}, &daemonSets: {ours, here}, &pods: {ours, here, client.UnsafeDisableDeepCopy},
	} {
		if err := r.Client.List(ctx, list, where...); err != nil {
			return fmt.Errorf("list the driver's objects (%T): %w", list, err)
		}
	}
	for i := range daemonSets.Items {
		seen.existing = append(seen.existing, &daemonSets.Items[i])
	}
	for i := range csiDrivers.Items {
		seen.existing = append(seen.existing, &csiDrivers.Items[i])
	}
	for i := range serviceAccounts.Items {
		seen.existing = append(seen.existing, &serviceAccounts.Items[i])
	}
	seen.DaemonSets, seen.Pods = daemonSets.Items, pods.Items
	seen.kinds, seen.pending = r.optional.present(ctx)
	more, err := r.optional.list(ctx, seen.kinds, ours)
	seen.existing = append(seen.existing, more...)
	return err
}
