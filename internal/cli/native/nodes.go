package native

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/version"

	"github.com/image-csi/image-csi-operator/internal/cli/document"
	"github.com/image-csi/image-csi-operator/internal/cli/seen"
	"github.com/image-csi/image-csi-operator/internal/contract"
)

// wanted is what a volume needs of a node beside being shown.
type wanted struct{ subPath, userNamespace bool }

// The first releases that can do something, of Kubernetes (API server and kubelet; KEP-4639) and of the container runtimes.
const (
	withGate  = "1.31" // has image volumes at all, behind the feature gate ImageVolume
	byDefault = "1.35" // has the gate on

	containerdVolumes = "2.1"
	containerdSubPath = "2.2"
	crioVolumes       = "1.31"
	crioSubPath       = "1.33"
	// containerd maps the users of an image volume from these patches on (containerd#12816, and #12894 for 2.1).
	containerdUsers  = "2.2.2"
	containerd21Line = "2.1.7"
)

// before reports whether a version is older than a release.
func before(v *version.Version, release string) bool {
	return v.LessThan(version.MustParseGeneric(release))
}

// candidates are the nodes on which the pod could run today: those with a node class that its nodeSelector chooses.
func candidates(cluster seen.Cluster, pod *corev1.Pod) (found []*corev1.Node) {
	selector := labels.SelectorFromSet(pod.Spec.NodeSelector)
	for i := range cluster.Nodes {
		node := &cluster.Nodes[i]
		if node.Labels[contract.NodeClassLabel] != "" && selector.Matches(labels.Set(node.Labels)) {
			found = append(found, node)
		}
	}
	return found
}

// lacks returns what keeps a node from showing the image volume; empty if nothing does.
func lacks(server string, node *corev1.Node, want wanted) string {
	for _, v := range []string{server, node.Status.NodeInfo.KubeletVersion} {
		if why := kubernetesLacks(v); why != "" {
			return why
		}
	}
	return runtimeLacks(node.Status.NodeInfo.ContainerRuntimeVersion, want)
}

func kubernetesLacks(text string) string {
	v, err := version.ParseGeneric(text)
	switch {
	case err != nil:
		return fmt.Sprintf("its Kubernetes version %q cannot be read", text)
	case before(v, withGate):
		return "Kubernetes " + text + " has no image volumes"
	case before(v, byDefault):
		return "Kubernetes " + text + " has image volumes only behind the feature gate ImageVolume, which is off by default before 1.35"
	default:
		return ""
	}
}

func runtimeLacks(text string, want wanted) string {
	name, number, _ := strings.Cut(text, "://")
	v, err := version.ParseGeneric(number)
	if err != nil {
		return fmt.Sprintf("its container runtime %q is not known", text)
	}
	switch name {
	case "containerd":
		return containerdLacks(text, v, want)
	case "cri-o":
		return crioLacks(text, v, want)
	default:
		return text + " has no image volumes"
	}
}

func containerdLacks(text string, v *version.Version, want wanted) string {
	switch {
	case before(v, containerdVolumes):
		return text + " has no image volumes; containerd has them from 2.1 on"
	case want.subPath && before(v, containerdSubPath):
		return text + " ignores subPath without an error and shows the whole image; containerd knows it from 2.2 on"
	case want.userNamespace && before(v, containerdUsers) && (v.Minor() != 1 || before(v, containerd21Line)):
		return text + " cannot start a pod with hostUsers: false and an image volume; containerd can from 2.2.2 and 2.1.7 on"
	default:
		return ""
	}
}

func crioLacks(text string, v *version.Version, want wanted) string {
	switch {
	case before(v, crioVolumes):
		return text + " has no image volumes; CRI-O has them from 1.31 on"
	case want.subPath && before(v, crioSubPath):
		return text + " does not know subPath of image volumes; CRI-O does from 1.33 on"
	case want.userNamespace:
		return text + " cannot start a pod with hostUsers: false and an image volume, as far as it was tried (1.36)"
	default:
		return ""
	}
}

// ofNodes returns the reasons that are the nodes', and whether they leave the driver as the only way: they do if no node could show the
// volume. Nodes with the same fault share a reason, in the order of the nodes.
func ofNodes(cluster seen.Cluster, pod *corev1.Pod, want wanted) (reasons []document.NativeReason, none bool) {
	nodes := candidates(cluster, pod)
	by := map[string][]string{}
	var order []string
	faulty := 0
	for _, node := range nodes {
		why := lacks(cluster.Version, node, want)
		if why == "" {
			continue
		}
		faulty++
		if by[why] == nil {
			order = append(order, why)
		}
		by[why] = append(by[why], node.Name)
	}
	for _, why := range order {
		message := "on " + sampleOf(by[why]) + ": " + why
		if faulty < len(nodes) {
			message += "; upgrade there, or keep the pod on other nodes by its nodeSelector"
		}
		reasons = append(reasons, document.NativeReason{ID: document.NativeNodes, Message: message})
	}
	return reasons, faulty == len(nodes)
}

// shown is how many nodes a reason names.
const shown = 3

func sampleOf(names []string) string {
	if len(names) <= shown {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more nodes", strings.Join(names[:shown], ", "), len(names)-shown)
}
