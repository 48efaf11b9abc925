package status

import (
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/util/sets"

	"github.com/image-csi/image-csi-operator/api/v1alpha1"
	"github.com/image-csi/image-csi-operator/internal/contract"
)

// classes returns the status of every node class that has nodes or a DaemonSet, sorted by name.
func classes(previous []v1alpha1.NodeClassStatus, seen Observation) []v1alpha1.NodeClassStatus {
	found := map[string]*v1alpha1.NodeClassStatus{}
	get := func(name string) *v1alpha1.NodeClassStatus {
		if found[name] == nil {
			class, _ := seen.Table.Lookup(name)
			found[name] = &v1alpha1.NodeClassStatus{Name: name, MountMode: class.MountMode}
		}
		return found[name]
	}
	for i := range seen.DaemonSets {
		daemonSet := &seen.DaemonSets[i]
		status := get(daemonSet.Labels[contract.NodeClassLabel])
		status.DaemonSet = daemonSet.Name
		status.Updated = daemonSet.Status.UpdatedNumberScheduled
		status.RolledOutGeneration = rolledOut(previous, daemonSet, status.Name)
	}
	versions := map[string]sets.Set[string]{}
	for _, node := range seen.Nodes {
		if node.Current == "" {
			continue
		}
		status := get(node.Current)
		status.Nodes++
		if node.Registered.Has(seen.Driver.Name) {
			status.Ready++
		}
		if versions[status.Name] == nil {
			versions[status.Name] = sets.New[string]()
		}
		versions[status.Name].Insert(cut(node.RuntimeVersion, 128))
	}
	var out []v1alpha1.NodeClassStatus
	for name, status := range found {
		status.RuntimeVersions = first(sets.List(versions[name]), v1alpha1.MaxRuntimeVersions)
		out = append(out, *status)
	}
	slices.SortFunc(out, func(a, b v1alpha1.NodeClassStatus) int { return strings.Compare(a.Name, b.Name) })
	return first(out, v1alpha1.MaxClassStatuses)
}

// rolledOut returns the generation of a DaemonSet that last reached every node.
func rolledOut(previous []v1alpha1.NodeClassStatus, daemonSet *appsv1.DaemonSet, class string) int64 {
	now := daemonSet.Status
	if now.ObservedGeneration == daemonSet.Generation && now.DesiredNumberScheduled > 0 &&
		now.UpdatedNumberScheduled >= now.DesiredNumberScheduled {
		return daemonSet.Generation
	}
	for i := range previous {
		if previous[i].Name == class && previous[i].DaemonSet == daemonSet.Name {
			return previous[i].RolledOutGeneration
		}
	}
	return 0
}

func first[T any](list []T, most int) []T {
	if len(list) > most {
		return list[:most]
	}
	return list
}
