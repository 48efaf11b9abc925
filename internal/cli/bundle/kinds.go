package bundle

import (
	"path"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/image-csi/image-csi-operator/internal/cli/seen"
	"github.com/image-csi/image-csi-operator/internal/contract"
)

// Kind is a kind of objects that go into a bundle. Secrets and ConfigMaps are none.
type Kind struct {
	Kind  schema.GroupVersionKind
	About string
	// Namespaced kinds are read in the namespaces of the operator and of node plugins.
	Namespaced bool
	// Labels choose the objects; empty for all.
	Labels map[string]string
	// is reports whether an object goes into the bundle; nil for all.
	is func(object map[string]any) bool
}

// Path is the file of a kind's objects.
func (k Kind) Path(namespace string) string {
	return path.Join("objects", namespace, plural(strings.ToLower(k.Kind.Kind))+".json")
}

// Chosen are the objects that go into the bundle.
func (k Kind) Chosen(objects []map[string]any) []map[string]any {
	if k.is == nil {
		return objects
	}
	return slices.DeleteFunc(slices.Clone(objects), func(o map[string]any) bool { return !k.is(o) })
}

// partOf is the label of what an installation brings.
func partOf() map[string]string {
	return map[string]string{"app.kubernetes.io/part-of": "image-csi-operator"}
}

// Kinds are those of a bundle, in its order.
func Kinds() []Kind {
	of := func(group, version, kind string) schema.GroupVersionKind {
		return schema.GroupVersionKind{Group: group, Version: version, Kind: kind}
	}
	return []Kind{
		{Kind: of("storage.imagecsi.dev", "v1alpha1", "ImageCSIDriver"), About: "the drivers"},
		{Kind: of("storage.k8s.io", "v1", "CSIDriver"), About: "what kubelets know of the drivers", is: labelled(contract.DriverLabel)},
		{Kind: of("storage.k8s.io", "v1", "CSINode"), About: "which drivers kubelets have registered"},
		{Kind: of("admissionregistration.k8s.io", "v1", "ValidatingAdmissionPolicy"), About: "admission policies of the project", Labels: partOf()},
		{Kind: of("admissionregistration.k8s.io", "v1", "ValidatingAdmissionPolicyBinding"), About: "bindings of these policies", Labels: partOf()},
		{Kind: of("apps", "v1", "Deployment"), About: "the operator", Namespaced: true, is: ours},
		{Kind: of("apps", "v1", "DaemonSet"), About: "the node plugins", Namespaced: true, is: ours},
		{Kind: of("", "v1", "Pod"), About: "pods of the operator and the node plugins", Namespaced: true, is: ours},
		{Kind: of("", "v1", "Event"), About: "events in the namespace", Namespaced: true},
	}
}

func labelled(label string) func(map[string]any) bool {
	return func(object map[string]any) bool { return labelOf(object, label) != "" }
}

// ours reports whether an object is the operator's or one of a driver's.
func ours(object map[string]any) bool {
	return labelOf(object, contract.DriverLabel) != "" || labelOf(object, "app.kubernetes.io/part-of") == "image-csi-operator"
}

func labelOf(object map[string]any, label string) string {
	metadata, _ := object["metadata"].(map[string]any)
	labels, _ := metadata["labels"].(map[string]any)
	value, _ := labels[label].(string)
	return value
}

// Node is what matters of a node here: no addresses, and no labels of others.
type Node struct {
	Name       string                `json:"name"`
	Labels     map[string]string     `json:"labels,omitempty"`
	Taints     []string              `json:"taints,omitempty"`
	Info       corev1.NodeSystemInfo `json:"nodeInfo"`
	Conditions map[string]string     `json:"conditions,omitempty"`
}

// Nodes are those of a cluster.
func Nodes(cluster seen.Cluster) []Node {
	nodes := make([]Node, 0, len(cluster.Nodes))
	for i := range cluster.Nodes {
		n := &cluster.Nodes[i]
		node := Node{Name: n.Name, Info: n.Status.NodeInfo, Labels: map[string]string{}, Conditions: map[string]string{}}
		node.Info.MachineID, node.Info.SystemUUID, node.Info.BootID = "", "", ""
		for key, value := range n.Labels {
			if strings.HasPrefix(key, "imagecsi.dev") || strings.HasPrefix(key, "kubernetes.io/") {
				node.Labels[key] = value
			}
		}
		for _, t := range n.Spec.Taints {
			node.Taints = append(node.Taints, t.Key+":"+string(t.Effect))
		}
		for _, c := range n.Status.Conditions {
			node.Conditions[string(c.Type)] = string(c.Status) + " " + c.Reason
		}
		nodes = append(nodes, node)
	}
	return nodes
}

func plural(kind string) string {
	if stem, found := strings.CutSuffix(kind, "y"); found {
		return stem + "ies"
	}
	return kind + "s"
}
