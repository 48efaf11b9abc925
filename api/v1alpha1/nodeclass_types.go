package v1alpha1

// NodeClass changes a built-in node class of the same name, or adds a class. For a built-in class, a field that is
// left out keeps its built-in value.
//
// +kubebuilder:validation:XValidation:rule="self.name in ['containerd', 'bottlerocket', 'talos', 'flatcar', 'cos', 'k3s', 'rke2', 'k0s', 'microk8s', 'crio', 'openshift'] || (has(self.match) && has(self.mountMode) && has(self.runtimeEndpoint))",message="a class that is not built in must set match, mountMode and runtimeEndpoint; the built-in classes are containerd, bottlerocket, talos, flatcar, cos, k3s, rke2, k0s, microk8s, crio and openshift"
// +kubebuilder:validation:XValidation:rule="!has(self.match) || !(self.name in ['containerd', 'bottlerocket', 'talos', 'flatcar', 'cos', 'k3s', 'rke2', 'k0s', 'microk8s']) || self.match.runtime == 'containerd'",message="a built-in class keeps its runtime: match.runtime must be containerd here"
// +kubebuilder:validation:XValidation:rule="!has(self.match) || !(self.name in ['crio', 'openshift']) || self.match.runtime == 'cri-o'",message="a built-in class keeps its runtime: match.runtime must be cri-o here"
// +kubebuilder:validation:XValidation:rule="!has(self.confinement) || (has(self.mountMode) ? self.mountMode == 'Nsenter' : !(self.name in ['crio', 'openshift']))",message="confinement needs mountMode Nsenter: container runtimes give the privileged container of mode Bidirectional no profile"
type NodeClass struct {
	// name of the class. It becomes the value of the node label imagecsi.dev/node-class and part of the DaemonSet's
	// name.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=40
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')",message="a class name must consist of lower-case letters, digits and '-', and must start and end with a letter or digit"
	Name string `json:"name"`

	// match selects the nodes that belong to the class. For a built-in class it replaces the built-in match.
	// +optional
	Match *NodeMatch `json:"match,omitempty"`

	// mountMode is where the node plugin mounts. Nsenter: in the host's mount namespace, from a pod that is not
	// privileged. Bidirectional: in its own, from a privileged pod that shares the kubelet's directory with the host.
	// Default of the built-in classes: Nsenter for containerd, Bidirectional for cri-o. Volumes stay mounted when it
	// changes.
	// +optional
	MountMode MountMode `json:"mountMode,omitempty"`

	// runtimeEndpoint is the CRI socket of the container runtime. The socket's directory is mounted into the node
	// plugin, so that a restarted runtime is found again. An added class has no default and must set it.
	// +kubebuilder:validation:MaxLength=108
	// +kubebuilder:validation:XValidation:rule="self.matches('^unix://(/[A-Za-z0-9._+@-]+){2,}$') && !self.matches('/[.][.]?(/|$)')",message="runtimeEndpoint must be unix:// and the absolute path of a socket inside a directory, without '..', as in unix:///run/containerd/containerd.sock"
	// +optional
	RuntimeEndpoint string `json:"runtimeEndpoint,omitempty"`

	// kubeletRoot is the kubelet's root directory (its --root-dir). Default of an added class: /var/lib/kubelet.
	// +optional
	KubeletRoot HostPath `json:"kubeletRoot,omitempty"`

	// storageRoot is the directory in which the runtime keeps its images. The node plugin sees it on cri-o nodes, and in
	// mode Bidirectional. Default of an added class: /var/lib/containerd for containerd, /var/lib/containers/storage for
	// cri-o.
	// +optional
	StorageRoot HostPath `json:"storageRoot,omitempty"`

	// runRoot is the directory of the image store's run-time state (runroot in CRI-O's configuration). Only for cri-o.
	// Default: /run/containers/storage.
	// +optional
	RunRoot HostPath `json:"runRoot,omitempty"`

	// imageStore is the directory in which CRI-O keeps images apart from storageRoot (imagestore in its configuration).
	// Only for cri-o. Default: images are kept in storageRoot.
	// +optional
	ImageStore HostPath `json:"imageStore,omitempty"`

	// additionalImageStores are further image stores, which CRI-O only reads (additionalimagestores in storage.conf, or
	// its storage option overlay.imagestore). Only for cri-o. Default: none.
	// +kubebuilder:validation:MaxItems=8
	// +listType=set
	// +optional
	AdditionalImageStores []HostPath `json:"additionalImageStores,omitempty"`

	// network that the node plugin's pods have. Pod: one of their own. Host: the node's. Credential providers need Host where
	// a cloud's metadata service answers programs of the node only, as that of AWS with a hop limit of 1. Node plugins then
	// reach whatever listens on the node's loopback, and no NetworkPolicy holds for them. Their health and metrics are served
	// on that loopback only, at the port of spec.nodePlugin.httpPort. Default: Pod.
	// +optional
	Network NodeNetwork `json:"network,omitempty"`

	// confinement of the node plugin's container in this class. Each of its fields takes precedence over the same one of
	// spec.nodePlugin.confinement.
	// +optional
	Confinement *ContainerConfinement `json:"confinement,omitempty"`
}

// NodeMatch selects the nodes that belong to a class: those for which everything that is set holds.
type NodeMatch struct {
	// runtime is the container runtime in the node's status.nodeInfo.containerRuntimeVersion.
	Runtime Runtime `json:"runtime"`

	// runtimeVersionContains is text that occurs in the version there, e.g. "-k3s" in containerd://2.1.4-k3s1.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	// +optional
	RuntimeVersionContains string `json:"runtimeVersionContains,omitempty"`

	// osImageContains is text that occurs in the node's status.nodeInfo.osImage, e.g. "Flatcar".
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=128
	// +optional
	OSImageContains string `json:"osImageContains,omitempty"`

	// kubeletVersionContains is text that occurs in the node's status.nodeInfo.kubeletVersion, e.g. "+k3s".
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	// +optional
	KubeletVersionContains string `json:"kubeletVersionContains,omitempty"`

	// nodeLabels are labels that the node has, all of them.
	// +kubebuilder:validation:MaxProperties=8
	// +kubebuilder:validation:XValidation:rule="self.all(key, size(key) <= 317 && key.indexOf('/') <= 253 && key.matches('^([a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$'))",message="a label key must be a name of at most 63 letters, digits, '-', '_' and '.' that starts and ends with a letter or digit, and may have a DNS name and '/' before it, as in example.com/pool"
	// +kubebuilder:validation:XValidation:rule="self.all(key, !key.startsWith('imagecsi.dev/'))",message="nodes must not be selected by labels under imagecsi.dev/, which the operator sets"
	// +mapType=atomic
	// +optional
	NodeLabels map[string]LabelValue `json:"nodeLabels,omitempty"`
}

// Runtime is a container runtime whose image store the node plugin can read, as the node's status spells it.
// +kubebuilder:validation:Enum=containerd;cri-o
type Runtime string

// MountMode is where the node plugin mounts.
// +kubebuilder:validation:Enum=Nsenter;Bidirectional
type MountMode string

// NodeNetwork is the network of the node plugin's pods.
// +kubebuilder:validation:Enum=Pod;Host
type NodeNetwork string

// The networks.
const (
	// NetworkPod is a network namespace of the pod's own.
	NetworkPod NodeNetwork = "Pod"
	// NetworkHost is the node's network namespace.
	NetworkHost NodeNetwork = "Host"
)

// HostPath is a directory of the node.
// +kubebuilder:validation:MinLength=2
// +kubebuilder:validation:MaxLength=256
// +kubebuilder:validation:XValidation:rule="self.matches('^(/[A-Za-z0-9._+@-]+)+$') && !self.matches('/[.][.]?(/|$)')",message="a host path must be absolute, without '..', '//' or a trailing slash, as in /var/lib/kubelet"
type HostPath string
