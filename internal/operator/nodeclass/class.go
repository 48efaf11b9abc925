package nodeclass

import (
	"path"
	"strings"

	"github.com/image-csi/image-csi-operator/api/v1alpha1"
	"github.com/image-csi/image-csi-operator/internal/contract"
)

// Class is what the node plugin needs to know about a kind of node.
type Class struct {
	// Name is the value of the node label contract.NodeClassLabel.
	Name string
	// Runtime is contract.RuntimeContainerd or contract.RuntimeCRIO.
	Runtime v1alpha1.Runtime
	// MountMode is contract.ModeNsenter or contract.ModeBidirectional.
	MountMode v1alpha1.MountMode
	// RuntimeEndpoint is the CRI socket, unix:///….
	RuntimeEndpoint string
	// KubeletRoot is the kubelet's root directory.
	KubeletRoot string
	// StorageRoot is the directory of the runtime's image store.
	StorageRoot string
	// RunRoot is the directory of the image store's run-time state; empty when the runtime has none of its own.
	RunRoot string
	// Network is that of the pods; empty is v1alpha1.NetworkPod.
	Network v1alpha1.NodeNetwork
	// Policy is whose SELinux policy the nodes have.
	Policy SELinuxPolicy
	// Confinement is what an administrator has chosen of what confines the node plugin's container.
	Confinement v1alpha1.ContainerConfinement
}

// RuntimeDir is the directory of the runtime's socket. Mounting the directory, not the socket, lets the node plugin
// find the new socket of a restarted runtime.
func (c Class) RuntimeDir() string {
	return path.Dir(strings.TrimPrefix(c.RuntimeEndpoint, "unix://"))
}

const (
	defaultKubeletRoot   = "/var/lib/kubelet"
	containerdRoot       = "/var/lib/containerd"
	containersStorage    = "/var/lib/containers/storage"
	containersStorageRun = "/run/containers/storage"

	// k3s and RKE2 bring a containerd of their own, whose version has this text (2.1.4-k3s1, say), at this socket. One that
	// an administrator has put in its place (k3s --container-runtime-endpoint) is like any other node's.
	rancherContainerd = "-k3s"
	rancherEndpoint   = "/run/k3s/containerd/containerd.sock"
)

// builtin returns a class of this package's table with the values that hold for most nodes with the runtime.
func builtin(name string, runtime v1alpha1.Runtime) Class {
	class := Class{Name: name, Runtime: runtime, KubeletRoot: defaultKubeletRoot, Policy: PolicyCommon}
	if runtime == contract.RuntimeCRIO {
		class.MountMode = contract.ModeBidirectional
		class.RuntimeEndpoint = contract.CRIOEndpoint
		class.StorageRoot = containersStorage
		class.RunRoot = containersStorageRun
		return class
	}
	class.MountMode = contract.ModeNsenter
	class.RuntimeEndpoint = contract.ContainerdEndpoint
	class.StorageRoot = containerdRoot
	return class
}

// with returns the class at other paths.
func (c Class) with(endpoint, kubeletRoot, storageRoot string) Class {
	c.RuntimeEndpoint = "unix://" + endpoint
	c.KubeletRoot = kubeletRoot
	c.StorageRoot = storageRoot
	return c
}

// Names of the built-in classes.
const (
	Containerd   = "containerd"
	Bottlerocket = "bottlerocket"
	Talos        = "talos"
	Flatcar      = "flatcar"
	COS          = "cos" // Google's Container-Optimized OS, the default of GKE
	K3s          = "k3s"
	RKE2         = "rke2"
	K0s          = "k0s"
	MicroK8s     = "microk8s"
	CRIO         = "crio"
	OpenShift    = "openshift"
)

// builtins is the table, the most specific class first: a distribution's kubelet brings its own containerd, whatever
// the operating system beneath. Sources: each distribution's own documentation of its
// containerd and kubelet directories; microk8s and OpenShift mark their nodes with labels of their own.
func builtins() []rule {
	containerd := builtin(Containerd, contract.RuntimeContainerd)
	named := func(name string) Class {
		class := containerd
		class.Name = name
		return class
	}
	confined := func(name string) Class {
		class := named(name)
		class.Policy = PolicyOwn
		return class
	}
	return []rule{
		{
			class: builtin(OpenShift, contract.RuntimeCRIO),
			anyOf: []match{
				{runtime: contract.RuntimeCRIO, hasLabel: "node.openshift.io/os_id"},
				{runtime: contract.RuntimeCRIO, osImage: "Red Hat Enterprise Linux CoreOS"},
			},
		},
		{
			class: builtin(CRIO, contract.RuntimeCRIO),
			anyOf: []match{{runtime: contract.RuntimeCRIO}},
		},
		{
			class: confined(Bottlerocket),
			anyOf: []match{{runtime: contract.RuntimeContainerd, osImage: bottlerocketOS}},
		},
		{
			class: named(RKE2).with(rancherEndpoint, defaultKubeletRoot, "/var/lib/rancher/rke2/agent/containerd"),
			anyOf: []match{{runtime: contract.RuntimeContainerd, runtimeVersion: rancherContainerd, kubeletVersion: "+rke2"}},
		},
		{
			class: named(K3s).with(rancherEndpoint, defaultKubeletRoot, "/var/lib/rancher/k3s/agent/containerd"),
			anyOf: []match{{runtime: contract.RuntimeContainerd, runtimeVersion: rancherContainerd}},
		},
		{
			class: named(K0s).with("/run/k0s/containerd.sock", "/var/lib/k0s/kubelet", "/var/lib/k0s/containerd"),
			anyOf: []match{{runtime: contract.RuntimeContainerd, plain: true, kubeletVersion: "+k0s"}},
		},
		{
			class: named(MicroK8s).with("/var/snap/microk8s/common/run/containerd.sock",
				"/var/snap/microk8s/common/var/lib/kubelet", "/var/snap/microk8s/common/var/lib/containerd"),
			anyOf: []match{{runtime: contract.RuntimeContainerd, hasLabel: "microk8s.io/cluster"}},
		},
		{
			class: confined(Talos),
			anyOf: []match{{runtime: contract.RuntimeContainerd, osImage: talosOS}},
		},
		{
			class: named(Flatcar),
			anyOf: []match{{runtime: contract.RuntimeContainerd, osImage: "Flatcar Container Linux"}},
		},
		{
			class: named(COS),
			anyOf: []match{{runtime: contract.RuntimeContainerd, osImage: "Container-Optimized OS"}},
		},
		{
			class: containerd,
			anyOf: []match{{runtime: contract.RuntimeContainerd}},
		},
	}
}
