package handover

import (
	"cmp"
	"fmt"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/image-csi/image-csi-operator/api/v1alpha1"
	"github.com/image-csi/image-csi-operator/internal/cli/seen"
	"github.com/image-csi/image-csi-operator/internal/contract"
	"github.com/image-csi/image-csi-operator/internal/operator/placement"
	"github.com/image-csi/image-csi-operator/internal/operator/pluginpod"
)

// LegacySet is a DaemonSet of the legacy driver with the CSI driver names that it serves.
type LegacySet struct {
	*appsv1.DaemonSet
	Names []string
}

// Key is its namespace and name.
func (s LegacySet) Key() string { return s.Namespace + "/" + s.Name }

// Objects are those of the API server that a handover is decided by.
type Objects struct {
	// Driver is the ImageCSIDriver; nil if there is none. Wanted is the one to create then, and Unready why it cannot be.
	Driver, Wanted *v1alpha1.ImageCSIDriver
	Unready        string

	Sets       []LegacySet
	Nodes      []corev1.Node
	CSINodes   []storagev1.CSINode
	CSIDrivers []storagev1.CSIDriver
	// Plugins are the pods of the ImageCSIDriver, and Pods those in the namespaces of the legacy driver's DaemonSets.
	Plugins, Pods []corev1.Pod
}

// See returns what matters of the objects. The error is of a record that cannot be read.
func See(o Objects) (Cluster, error) {
	c := Cluster{Driver: driverOf(o)}
	for _, set := range o.Sets {
		c.Names = append(c.Names, set.Names...)
		c.Sets = append(c.Sets, setOf(set))
		lost, err := lostOf(set, o.CSIDrivers)
		if err != nil {
			return c, err
		}
		c.Lost = append(c.Lost, lost...)
	}
	slices.Sort(c.Names)
	c.Names = slices.Compact(c.Names)
	plugins, pods, registered := onNodes(o.Plugins, nil), onNodes(o.Pods, o.Sets), registeredOn(o.CSINodes)
	for i := range o.Nodes {
		n := nodeOf(o, &o.Nodes[i])
		n.Ours, n.Legacy = cmp.Or(plugins[n.Name], Absent), cmp.Or(pods[n.Name], Absent)
		n.OursRegistered, n.LegacyRegistered = hasAll(registered[n.Name], c.Driver.Names), hasAll(registered[n.Name], c.Names)
		c.Nodes = append(c.Nodes, n)
	}
	slices.SortFunc(c.Nodes, func(a, b Node) int { return cmp.Compare(a.Name, b.Name) })
	return c, nil
}

func driverOf(o Objects) Driver {
	driver := o.driver()
	if driver == nil {
		return Driver{Unready: o.Unready}
	}
	d := Driver{Name: driver.Name, Names: seen.NamesOf(driver), Unready: o.Unready}
	if o.Driver != nil {
		d.Exists, d.Ending = true, o.Driver.DeletionTimestamp != nil
		d.Managed = o.Driver.Spec.ManagementState == v1alpha1.Managed || o.Driver.Spec.ManagementState == ""
	}
	return d
}

// driver is the one that there is, or else the one that is wanted.
func (o Objects) driver() *v1alpha1.ImageCSIDriver {
	if o.Driver != nil {
		return o.Driver
	}
	return o.Wanted
}

func setOf(set LegacySet) Set {
	return Set{Namespace: set.Namespace, Name: set.Name,
		Prepared: set.Spec.Template.Spec.NodeSelector[KeepLabel] == Keep && set.Spec.UpdateStrategy.Type == appsv1.OnDeleteDaemonSetStrategyType &&
			set.Annotations[RecordAnnotation] != "",
		Settled: set.Status.ObservedGeneration == set.Generation && set.Status.CurrentNumberScheduled >= set.Status.DesiredNumberScheduled}
}

// lostOf returns the CSIDriver objects that a DaemonSet's record has and the cluster has not.
func lostOf(set LegacySet, there []storagev1.CSIDriver) (lost []string, err error) {
	record, err := ReadRecord(set.Annotations[RecordAnnotation])
	if err != nil {
		return nil, fmt.Errorf("DaemonSet %s: %w; if you remove the annotation, the DaemonSet's earlier update strategy is lost", set.Key(), err)
	}
	if record == nil {
		return nil, nil
	}
	for i := range record.CSIDrivers {
		name := record.CSIDrivers[i].Name
		if !slices.ContainsFunc(there, func(d storagev1.CSIDriver) bool { return d.Name == name }) {
			lost = append(lost, name)
		}
	}
	return lost, nil
}

// onNodes returns what each node has of some pods; with DaemonSets, of their pods only.
func onNodes(pods []corev1.Pod, sets []LegacySet) map[string]Pod {
	out := map[string]Pod{}
	for i := range pods {
		pod := &pods[i]
		ended := pod.Status.Phase == corev1.PodFailed || pod.Status.Phase == corev1.PodSucceeded
		owned := len(sets) == 0 || slices.ContainsFunc(sets, func(s LegacySet) bool { return metav1.IsControlledBy(pod, s.DaemonSet) })
		if ended || !owned {
			continue
		}
		node := pluginpod.NodeOf(pod)
		if ready, _ := pluginpod.Ready(pod); ready && pod.DeletionTimestamp == nil && out[node] == "" {
			out[node] = Ready
		} else {
			out[node] = Present // also while one ends and the next one is ready
		}
	}
	return out
}

func registeredOn(nodes []storagev1.CSINode) map[string][]string {
	out := map[string][]string{}
	for i := range nodes {
		for _, driver := range nodes[i].Spec.Drivers {
			out[nodes[i].Name] = append(out[nodes[i].Name], driver.Name)
		}
	}
	return out
}

func hasAll(there, wanted []string) bool {
	return len(wanted) > 0 && !slices.ContainsFunc(wanted, func(name string) bool { return !slices.Contains(there, name) })
}

// nodeOf is a node without its pods.
func nodeOf(o Objects, node *corev1.Node) Node {
	excluded := node.Labels[contract.ExcludeLabel]
	n := Node{Name: node.Name, Keep: node.Labels[KeepLabel] == Keep, Held: excluded == Held, Excluded: excluded != "" && excluded != Held && excluded != "false"}
	ready := placement.ReadyCondition(node)
	n.Reports = ready != nil && ready.Status == corev1.ConditionTrue
	n.Fits = slices.ContainsFunc(o.Sets, func(s LegacySet) bool { return Fits(s.DaemonSet, node) })
	if driver := o.driver(); driver != nil {
		n.Why = whyNot(driver, node)
	}
	if o.Driver != nil {
		for _, problem := range o.Driver.Status.Problems {
			if problem.Node == node.Name {
				n.Problem = problem.Message
			}
		}
	}
	return n
}

// whyNot is why a driver has no node plugin on a node, whether it is excluded or not.
func whyNot(driver *v1alpha1.ImageCSIDriver, node *corev1.Node) string {
	node = node.DeepCopy()
	delete(node.Labels, contract.ExcludeLabel)
	switch placed := placement.ByDriver(driver, false).Of(node); {
	case placed.Eligible():
		return ""
	case placed.Unsupported != nil:
		return placed.Unsupported.Error()
	default:
		return "spec.nodePlugin of ImageCSIDriver " + driver.Name + " does not select it"
	}
}
