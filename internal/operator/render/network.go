package render

import (
	"cmp"
	"fmt"
	"hash/fnv"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/image-csi/image-csi-operator/api/v1alpha1"
	"github.com/image-csi/image-csi-operator/internal/contract"
	"github.com/image-csi/image-csi-operator/internal/operator/nodeclass"
)

const (
	portName = "http"
	// loopback is where node plugins listen that share the network of their node, so that nobody else reaches them.
	loopback = "127.0.0.1"
)

// endpoint is where a node plugin serves health and metrics.
type endpoint struct {
	host string // empty: every address of the pod
	port int32
}

func endpointOf(driver *v1alpha1.ImageCSIDriver, class nodeclass.Class) endpoint {
	chosen := driver.Spec.NodePlugin.HTTPPort
	if class.Network != v1alpha1.NetworkHost {
		return endpoint{port: cmp.Or(chosen, contract.HTTPPort)}
	}
	return endpoint{host: loopback, port: cmp.Or(chosen, hostPort(driver.Name))}
}

// hostPort is the port of a driver's node plugins in the network of their node, where drivers share the ports. It depends on the
// name alone, so that no driver's port changes when another comes or goes.
func hostPort(driver string) int32 {
	hash := fnv.New32a()
	_, _ = hash.Write([]byte(driver))
	return contract.FirstHostPort + int32(hash.Sum32()%contract.HostPorts)
}

// live is where a node plugin serves the live view; empty if it does not. In the network of the node every program there could read it,
// so there it is not served.
func (e endpoint) live() string {
	switch {
	case e.host != "":
		return ""
	case e.port == contract.LivePort:
		return fmt.Sprintf("%s:%d", loopback, contract.OtherLivePort)
	default:
		return fmt.Sprintf("%s:%d", loopback, contract.LivePort)
	}
}

func (e endpoint) address() string { return fmt.Sprintf("%s:%d", e.host, e.port) }

// ports are those that the container declares. One on the loopback is not declared: a declared port of such a pod is one on every
// address of the node, and Prometheus would scrape it there.
func (e endpoint) ports() []corev1.ContainerPort {
	if e.host != "" {
		return nil
	}
	return []corev1.ContainerPort{{Name: portName, ContainerPort: e.port, Protocol: corev1.ProtocolTCP}}
}

// probed is the port that the kubelet asks.
func (e endpoint) probed() intstr.IntOrString {
	if e.host != "" {
		return intstr.FromInt32(e.port)
	}
	return intstr.FromString(portName)
}

// join gives a pod the network of its class. Registries that only the cluster's DNS knows are found in either.
func join(pod corev1.PodSpec, network v1alpha1.NodeNetwork) corev1.PodSpec {
	if network == v1alpha1.NetworkHost {
		pod.HostNetwork, pod.DNSPolicy = true, corev1.DNSClusterFirstWithHostNet
	}
	return pod
}

// NetworkOf returns the network for which a node plugin's container is made. While a change rolls out, that is not what the class
// asks for.
func NetworkOf(container corev1.Container) v1alpha1.NodeNetwork {
	onLoopback := func(arg string) bool { return strings.HasPrefix(arg, option(contract.FlagHTTPAddress, loopback+":")) }
	if slices.ContainsFunc(container.Args, onLoopback) {
		return v1alpha1.NetworkHost
	}
	return v1alpha1.NetworkPod
}
