package status

import (
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"

	"github.com/image-csi/image-csi-operator/api/v1alpha1"
	"github.com/image-csi/image-csi-operator/internal/contract"
	"github.com/image-csi/image-csi-operator/internal/operator/pluginpod"
	"github.com/image-csi/image-csi-operator/internal/operator/render"
	"github.com/image-csi/image-csi-operator/internal/operator/security"
)

// classes returns the status of every node class that has nodes or a DaemonSet, sorted by name. Before is the driver's status so far.
func classes(before v1alpha1.ImageCSIDriverStatus, seen Observation, now metav1.Time) []v1alpha1.NodeClassStatus {
	found := map[string]*v1alpha1.NodeClassStatus{}
	get := func(name string) *v1alpha1.NodeClassStatus {
		if found[name] == nil {
			class, _ := seen.Table.Lookup(name)
			found[name] = &v1alpha1.NodeClassStatus{Name: name, MountMode: class.MountMode}
		}
		return found[name]
	}
	profiles := map[string]string{}
	for i := range seen.DaemonSets {
		daemonSet := &seen.DaemonSets[i]
		status := get(daemonSet.Labels[contract.NodeClassLabel])
		status.DaemonSet = daemonSet.Name
		status.Revision = daemonSet.Spec.Template.Labels[contract.RevisionLabel]
		status.Confinement = confinement(seen, status.Name, daemonSet)
		status.Updated = updated(seen, status.Name, status.Revision)
		profiles[status.Name] = sandboxProfile(daemonSet)
	}
	versions := map[string]sets.Set[string]{}
	add := func(class, version string, nodes, ready int32) {
		if class == "" {
			return
		}
		status := get(class)
		status.Nodes += nodes
		status.Ready += ready
		if versions[class] == nil {
			versions[class] = sets.New[string]()
		}
		versions[class].Insert(Shorten(version, 128))
	}
	for _, node := range seen.Nodes {
		ready := int32(0)
		if node.Serves(seen.Driver.Name) {
			ready = 1
		}
		add(node.Current, node.RuntimeVersion, 1, ready)
	}
	for kind, nodes := range seen.Settled {
		add(kind.Class, kind.RuntimeVersion, nodes, nodes)
	}
	var out []v1alpha1.NodeClassStatus
	for name, status := range found {
		status.RuntimeVersions = first(sets.List(versions[name]), v1alpha1.MaxRuntimeVersions)
		status.NestedSandboxes = classSandboxes(sandboxesBefore(before, name), seen, *status, profiles[name], now)
		out = append(out, *status)
	}
	slices.SortFunc(out, func(a, b v1alpha1.NodeClassStatus) int { return strings.Compare(a.Name, b.Name) })
	return first(out, v1alpha1.MaxClassStatuses)
}

// confinement describes what a DaemonSet's node plugins may do; nil if it has none.
func confinement(seen Observation, name string, daemonSet *appsv1.DaemonSet) *v1alpha1.Confinement {
	class, _ := seen.Table.Lookup(name)
	for _, container := range daemonSet.Spec.Template.Spec.Containers {
		if container.Name == render.ContainerName {
			told, _ := render.ToldOf(container)
			out := security.Describe(class, render.AccessOf(container), container.SecurityContext, told)
			security.DescribeNetwork(out, class, &daemonSet.Spec.Template.Spec)
			out.Looser = looser(daemonSet)
			return out
		}
	}
	return nil
}

// sandboxProfile is the seccomp profile of sandboxes that a DaemonSet's node plugins keep on their nodes; empty if they keep none.
func sandboxProfile(daemonSet *appsv1.DaemonSet) string {
	for _, container := range daemonSet.Spec.Template.Spec.Containers {
		if container.Name == render.ContainerName {
			return render.SandboxProfileOf(container)
		}
	}
	return ""
}

// updated counts the nodes that have a node plugin of a class in its present form.
func updated(seen Observation, class, revision string) int32 {
	count := seen.Settled.In(class)
	for i := range seen.Pods {
		pod := &seen.Pods[i]
		if pod.Labels[contract.NodeClassLabel] == class && pod.Labels[contract.RevisionLabel] == revision &&
			pod.DeletionTimestamp == nil && pluginpod.NodeOf(pod) != "" {
			count++
		}
	}
	return count
}

func first[T any](list []T, most int) []T {
	if len(list) > most {
		return list[:most]
	}
	return list
}
