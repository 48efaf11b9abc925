package migration

import (
	"cmp"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/image-csi/image-csi-operator/api/v1alpha1"
	"github.com/image-csi/image-csi-operator/internal/contract"
	"github.com/image-csi/image-csi-operator/internal/operator/nodeclass"
)

const (
	runtimeContainerd = v1alpha1.Runtime(contract.RuntimeContainerd)
	runtimeCRIO       = v1alpha1.Runtime(contract.RuntimeCRIO)
)

func compare(a, b string) int { return cmp.Compare(a, b) }

// rule maps one value of the chart. It sees a value only if that says something.
type rule struct {
	value string
	apply func(m *mapping, path string, value any)
}

// rules are those of every value of the chart, version 2.1.9. The runtime's come first: others need to know it.
func rules() []rule {
	return []rule{
		{"runtime.engine", runtimeEngine},
		{"runtime.socketPath", runtimeSocket},
		{"kubeletRoot", kubeletRoot},
		{"crioRuntimeRoot", storageRoot},
		{"csiPlugin.hostNetwork", hostNetwork},
		{"csiPlugin.metricsPort", metricsPort},
		{"csiPlugin.resources", resources},
		{"podMonitor.enabled", podMonitor},
		{"podMonitor.interval", scrape},
		{"podMonitor.timeout", scrape},
		{"logLevel", logLevel},
		{"pullImageSecretForDaemonset", pullSecret},
		{"imageCredentialProvider", credentialProvider},
		{"selinuxContext", selinuxContext},
		{"tolerations", tolerations},
		{"nodeSelector", nodeSelector},
		{"affinity", affinity},
		{"crioMountProgram", unmatched("layers are mounted by the kernel's overlay file system, so no program is needed; no action needed on kernels that have it")},
		{"snapshotRoot", unneeded("the node plugin asks containerd")},
		{"enableAsyncPull", asyncPull},
		{"asyncPullTimeout", unneeded("a pull outlives the kubelet's call without a time limit, and the next call joins it")},
		{"enableDaemonImageCredentialCache", unneeded("changed secrets take effect within about a minute")},
		{"csiPlugin.image", unneeded("the operator brings the node plugin's image; spec.nodePlugin.image is for a mirror of it")},
		{"csiPlugin.livenessProbe", unneeded("the operator sets the probes")},
		{"csiLivenessProbe", unneeded("the kubelet asks the node plugin itself")},
		{"csiNodeDriverRegistrar", unneeded("the node plugin registers itself with the kubelet")},
		{"csiExternalProvisioner", unneeded("the operator provisions volumes of claims")},
		{"fullnameOverride", unneeded("the operator names its objects by driver and node class")},
		{"nameOverride", unneeded("the operator names its objects by driver and node class")},
	}
}

func unneeded(why string) func(*mapping, string, any) {
	return func(m *mapping, path string, _ any) { m.note(Unneeded, path, "%s", why) }
}

func unmatched(why string) func(*mapping, string, any) {
	return func(m *mapping, path string, _ any) { m.note(Unmatched, path, "%s", why) }
}

func runtimeEngine(m *mapping, path string, value any) {
	engine, is := as[string](m, path, value)
	if !is {
		return
	}
	switch engine {
	case "containerd":
		m.engine = runtimeContainerd
	case "cri-o", "crio":
		m.engine = runtimeCRIO
	default:
		m.note(Unmatched, path, "%s is not supported; nodes with containerd and CRI-O get the driver, others are counted in status.unsupported", engine)
		return
	}
	m.note(Unneeded, path, "the operator finds the runtime of every node")
}

func runtimeSocket(m *mapping, path string, value any) {
	text, is := as[string](m, path, value)
	if !is {
		return
	}
	for _, scheme := range []string{"unix://", "containerd://", "cri-o://"} {
		text = strings.TrimPrefix(text, scheme)
	}
	m.socket = "unix://" + text
	m.path(path, "runtimeEndpoint", m.socket, func(c nodeclass.Class) string { return c.RuntimeEndpoint },
		func(c *v1alpha1.NodeClass) { c.RuntimeEndpoint = m.socket })
}

func kubeletRoot(m *mapping, path string, value any) {
	if text, is := as[string](m, path, value); is {
		text = directory(text)
		m.path(path, "kubeletRoot", text, func(c nodeclass.Class) string { return c.KubeletRoot }, func(c *v1alpha1.NodeClass) { c.KubeletRoot = v1alpha1.HostPath(text) })
	}
}

func storageRoot(m *mapping, path string, value any) {
	if m.engine != runtimeCRIO {
		m.note(Unneeded, path, "it is for CRI-O only")
		return
	}
	if text, is := as[string](m, path, value); is {
		text = directory(text)
		m.path(path, "storageRoot", text, func(c nodeclass.Class) string { return c.StorageRoot }, func(c *v1alpha1.NodeClass) { c.StorageRoot = v1alpha1.HostPath(text) })
	}
}

// directory is a path as the API takes it.
func directory(path string) string {
	if path == "/" {
		return path
	}
	return strings.TrimRight(path, "/")
}

func hostNetwork(m *mapping, path string, value any) {
	wanted, is := as[bool](m, path, value)
	if !is || !wanted {
		return
	}
	m.inClasses(path, "network", func(c *v1alpha1.NodeClass) { c.Network = v1alpha1.NetworkHost })
	m.note(Changed, path, "only credential providers that ask a metadata service which answers programs of the node (AWS with a hop limit of 1) need it; "+
		"leave it out otherwise. Metrics are then served on the node's loopback only")
}

func metricsPort(m *mapping, path string, value any) {
	port, is := as[int32](m, path, value)
	switch {
	case !is:
	case port == contract.HTTPPort:
		m.note(Unneeded, path, "%d is the port of the node plugins' metrics", port)
	case port < 1024 || port > 65535:
		m.note(Unmatched, path, "the node plugin serves at a port from 1024 to 65535, here %d; change what scrapes it", contract.HTTPPort)
	default:
		m.driver.Spec.NodePlugin.HTTPPort = port
		m.note(Mapped, path, "spec.nodePlugin.httpPort")
	}
}

func resources(m *mapping, path string, value any) {
	asked, is := as[corev1.ResourceRequirements](m, path, value)
	if !is || len(asked.Requests)+len(asked.Limits) == 0 {
		return
	}
	m.driver.Spec.NodePlugin.Resources = &v1alpha1.Resources{Requests: asked.Requests, Limits: asked.Limits}
	m.note(Mapped, path, "spec.nodePlugin.resources")
}

func podMonitor(m *mapping, path string, value any) {
	if wanted, is := as[bool](m, path, value); !is || !wanted {
		return
	}
	m.driver.Spec.NodePlugin.CompatibilityMetrics = v1alpha1.CompatibilityMetricsEnabled
	m.note(Mapped, path, "spec.nodePlugin.compatibilityMetrics, for dashboards with the names warm_metal_*; the operator makes a PodMonitor wherever the cluster knows the kind")
}

func scrape(m *mapping, path string, value any) {
	if enabled, _ := take(m.from.Values, "podMonitor.enabled"); enabled != true {
		return
	}
	m.note(Unmatched, path, "%v; the operator's PodMonitor leaves it to Prometheus' global setting. For another, scrape by a PodMonitor of your own", value)
}

func logLevel(m *mapping, path string, value any) {
	level, is := as[int](m, path, value)
	switch {
	case !is:
	case level >= 5:
		m.driver.Spec.NodePlugin.LogLevel = v1alpha1.LogDebug
		m.note(Mapped, path, "spec.nodePlugin.logLevel: Debug")
	default:
		m.note(Unneeded, path, "%d is as spec.nodePlugin.logLevel: Info, the default", level)
	}
}

func asyncPull(m *mapping, path string, value any) {
	if wanted, is := as[bool](m, path, value); is && !wanted {
		m.note(Changed, path, "pulls always go on when the kubelet's call of two minutes ends, and the next call joins them")
		return
	}
	m.note(Unneeded, path, "pulls always are asynchronous")
}
