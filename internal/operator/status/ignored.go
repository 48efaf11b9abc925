package status

import (
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/sets"

	"github.com/image-csi/image-csi-operator/api/v1alpha1"
	"github.com/image-csi/image-csi-operator/internal/contract"
	"github.com/image-csi/image-csi-operator/internal/operator/placement"
	"github.com/image-csi/image-csi-operator/internal/operator/pluginpod"
)

// ReasonVolumesIgnored is the reason of the event about pods that were not waited for.
const ReasonVolumesIgnored = "VolumesIgnored"

// ignoredPods returns the pods that were not waited for: those of this observation, and those in the status before whose nodes
// are not served again yet.
func ignoredPods(previous []v1alpha1.IgnoredPod, seen Observation) []v1alpha1.IgnoredPod {
	if seen.Driver.Spec.VolumesInUse != v1alpha1.VolumesIgnore {
		return nil
	}
	before := make(map[string]string, len(previous))
	for _, pod := range previous {
		before[pod.Node] = pod.Pod
	}
	served := sets.New[string]()
	if len(previous) > 0 {
		served = servedNodes(seen)
	}
	var out []v1alpha1.IgnoredPod
	for _, node := range seen.Nodes {
		if node.Ignored != "" {
			out = append(out, v1alpha1.IgnoredPod{Node: node.Name, Pod: node.Ignored})
		} else if pod := before[node.Name]; pod != "" && !served.Has(node.Name) {
			out = append(out, v1alpha1.IgnoredPod{Node: node.Name, Pod: pod})
		}
	}
	slices.SortFunc(out, func(a, b v1alpha1.IgnoredPod) int { return strings.Compare(a.Node, b.Node) })
	return first(out, v1alpha1.MaxIgnoredPods)
}

// servedNodes returns the nodes on which a node plugin of the node's own class is ready and registered. Right after a
// change of its class, a node is still registered by the node plugin that leaves.
func servedNodes(seen Observation) sets.Set[string] {
	served := sets.New[string]()
	if seen.Removal != "" {
		return served
	}
	classes := map[string]string{}
	for i := range seen.Pods {
		if ready, _ := pluginpod.Ready(&seen.Pods[i]); ready && seen.Pods[i].DeletionTimestamp == nil {
			classes[pluginpod.NodeOf(&seen.Pods[i])] = seen.Pods[i].Labels[contract.NodeClassLabel]
		}
	}
	for _, node := range seen.Nodes {
		if node.Current != "" && classes[node.Name] == node.Current && node.Registered.Has(seen.Driver.Name) {
			served.Insert(node.Name)
		}
	}
	return served
}

// IgnoredNote describes the pods that were not waited for in this observation; empty if there were none.
func IgnoredNote(seen Observation) string {
	count, example := int32(0), placement.Node{}
	for _, node := range seen.Nodes {
		if node.Ignored == "" {
			continue
		}
		if count++; count == 1 || node.Name < example.Name {
			example = node
		}
	}
	if count == 0 {
		return ""
	}
	return fmt.Sprintf("Went on although pods on %s use volumes of the driver (on node %s: %s), because spec.volumesInUse is Ignore. "+
		"They keep what they have mounted; it is not unmounted until a node plugin of the driver is back.", nodesOf(count), example.Name, example.Ignored)
}
