package render

import (
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/image-csi/image-csi-operator/api/v1alpha1"
	"github.com/image-csi/image-csi-operator/internal/operator/nodeclass"
)

// inNetwork renders the pods of a driver on containerd nodes.
func inNetwork(t *testing.T, driver *v1alpha1.ImageCSIDriver, network v1alpha1.NodeNetwork) corev1.PodSpec {
	t.Helper()
	of := class(t, nodeclass.Containerd, v1alpha1.NodeClass{Name: nodeclass.Containerd, Network: network})
	for _, object := range Render(Input{Driver: driver, Names: Names(driver), Settings: settings, Classes: []nodeclass.Class{of}}).Apply {
		if daemonSet, is := object.(*appsv1.DaemonSet); is {
			return daemonSet.Spec.Template.Spec
		}
	}
	t.Fatal("no DaemonSet")
	return corev1.PodSpec{}
}

// A socket on every address of a node is open to whoever reaches the node, and no NetworkPolicy closes it.
func TestInTheNodesNetworkNothingListensBeyondTheLoopback(t *testing.T) {
	driver := minimal()
	driver.Spec.NodePlugin.HTTPPort = 9090
	pod := inNetwork(t, driver, v1alpha1.NetworkHost)
	container := pod.Containers[0]
	if liveOf(container) != "" {
		t.Errorf("in the node's network the live view is served at %s, where every program of the node reaches it", liveOf(container))
	}
	if !pod.HostNetwork || pod.DNSPolicy != corev1.DNSClusterFirstWithHostNet || NetworkOf(container) != v1alpha1.NetworkHost {
		t.Errorf("host network %v, DNS policy %s, made for %s", pod.HostNetwork, pod.DNSPolicy, NetworkOf(container))
	}
	if len(container.Ports) > 0 || !slices.Contains(container.Args, "--http-address=127.0.0.1:9090") {
		t.Errorf("ports %v, arguments %q", container.Ports, container.Args)
	}
	for _, probe := range []*corev1.Probe{container.StartupProbe, container.LivenessProbe, container.ReadinessProbe} {
		if get := probe.HTTPGet; get.Host != "127.0.0.1" || get.Port != intstr.FromInt32(9090) {
			t.Errorf("the kubelet asks %s:%s", get.Host, get.Port.String())
		}
	}

	pod = inNetwork(t, driver, v1alpha1.NetworkPod)
	container = pod.Containers[0]
	if pod.HostNetwork || pod.DNSPolicy != "" || NetworkOf(container) != v1alpha1.NetworkPod || container.Ports[0].ContainerPort != 9090 ||
		!slices.Contains(container.Args, "--http-address=:9090") || container.LivenessProbe.HTTPGet.Port.String() != portName {
		t.Errorf("a pod with a network of its own: %+v", pod)
	}
}

// liveOf returns where a node plugin serves the live view.
func liveOf(container corev1.Container) string {
	for _, arg := range container.Args {
		if address, found := strings.CutPrefix(arg, "--live-address="); found {
			return address
		}
	}
	return ""
}

func TestTheLiveViewIsOnTheLoopbackAtAPortOfItsOwn(t *testing.T) {
	for port, want := range map[int32]string{0: "127.0.0.1:8082", 9090: "127.0.0.1:8082", 8082: "127.0.0.1:8083"} {
		driver := minimal()
		driver.Spec.NodePlugin.HTTPPort = port
		container := inNetwork(t, driver, v1alpha1.NetworkPod).Containers[0]
		if got := liveOf(container); got != want || len(container.Ports) != 1 {
			t.Errorf("port %d: %q, want %q; declared %v", port, got, want, container.Ports)
		}
	}
}

func TestDriversInTheNodesNetworkHavePortsOfTheirOwn(t *testing.T) {
	seen := map[string]string{}
	for _, name := range []string{"container-image.csi.k8s.io", "csi-image.warm-metal.tech", "a.example.com", "b.example.com"} {
		driver := minimal()
		driver.Name = name
		port := inNetwork(t, driver, v1alpha1.NetworkHost).Containers[0].LivenessProbe.HTTPGet.Port
		if other, taken := seen[port.String()]; taken || port.IntVal < 28000 || port.IntVal > 28999 {
			t.Errorf("%s has port %s, as %q", name, port.String(), other)
		}
		seen[port.String()] = name
	}
	// A port that differs from release to release would be another pod template, for nothing.
	if seen["28985"] != "container-image.csi.k8s.io" {
		t.Errorf("%v", seen)
	}
}
