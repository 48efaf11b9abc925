package admission

import (
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/yaml"

	"github.com/image-csi/image-csi-operator/api/v1alpha1"
	"github.com/image-csi/image-csi-operator/internal/operator/nodeclass"
)

// metricsPorts has the ports at which the pods of each policy serve metrics.
var metricsPorts = map[string]int32{"manager.yaml": 8443, "node_plugins.yaml": 8080}

// ofOneNamespace reports whether peers are those of one namespace, by the label that only the API server sets.
func ofOneNamespace(peers []networkingv1.NetworkPolicyPeer) bool {
	return len(peers) == 1 && peers[0].IPBlock == nil && peers[0].NamespaceSelector != nil &&
		peers[0].NamespaceSelector.MatchLabels[corev1.LabelMetadataName] != ""
}

// A selector that selects nothing, or a port that nobody listens on, would do nothing, or cut the operator off, without a word.
func TestNetworkPoliciesSelectThePodsAndTheirPorts(t *testing.T) {
	var deployment appsv1.Deployment
	if err := yaml.UnmarshalStrict(read(t, "../../config/manager/manager.yaml"), &deployment); err != nil {
		t.Fatal(err)
	}
	held := &v1alpha1.ImageCSIDriver{ObjectMeta: metav1.ObjectMeta{Name: driver}}
	class, _ := nodeclass.NewTable(nil).Lookup(nodeclass.Containerd)
	for file, pods := range map[string]corev1.PodTemplateSpec{
		"manager.yaml":      deployment.Spec.Template,
		"node_plugins.yaml": daemonSet(t, held, class, "image-csi-system", "example.com/x").Spec.Template,
	} {
		var policy networkingv1.NetworkPolicy
		if err := yaml.UnmarshalStrict(read(t, "../../config/network", file), &policy); err != nil {
			t.Fatal(err)
		}
		selector, err := metav1.LabelSelectorAsSelector(&policy.Spec.PodSelector)
		if err != nil {
			t.Fatal(err)
		}
		if selector.Empty() || !selector.Matches(labels.Set(pods.Labels)) {
			t.Errorf("%s selects %s, and the pods have %v", file, selector, pods.Labels)
		}
		open, limited := map[int]bool{}, map[int]bool{}
		for _, rule := range policy.Spec.Ingress {
			for _, port := range rule.Ports {
				open[port.Port.IntValue()] = true
				limited[port.Port.IntValue()] = ofOneNamespace(rule.From)
			}
		}
		listening := map[int]bool{}
		for _, port := range pods.Spec.Containers[0].Ports {
			listening[int(port.ContainerPort)] = true
			if port.ContainerPort == metricsPorts[file] && !limited[int(port.ContainerPort)] {
				t.Errorf("%s: everybody reaches the metrics at port %d", file, port.ContainerPort)
			}
		}
		if !listening[int(metricsPorts[file])] {
			t.Errorf("%s: nothing listens at the port of the metrics, %d", file, metricsPorts[file])
		}
		for port := range listening {
			if !open[port] {
				t.Errorf("%s: port %d is closed", file, port)
			}
		}
		for port := range open {
			if !listening[port] {
				t.Errorf("%s opens port %d, on which nothing listens", file, port)
			}
		}
	}
}
