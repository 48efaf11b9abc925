// Package contract holds the names on which the operator and the node plugin must agree: labels, flags, volume
// attributes, paths, ports and files. It holds constants, and the form of files, only.
package contract

// DefaultDriverName is the CSI driver name of the ImageCSIDriver in the samples. The legacy driver, warm-metal's container
// image CSI driver, serves under this name.
const DefaultDriverName = "container-image.csi.k8s.io"

// LegacyEarlierDriverName is the name under which earlier releases of the legacy driver serve, and later ones if told to.
const LegacyEarlierDriverName = "csi-image.warm-metal.tech"

// Keys under the project's own prefix.
const (
	// Prefix starts every label, annotation and taint of ours.
	Prefix = "imagecsi.dev/"

	// NodeClassLabel is the node label whose value is the node's class; the DaemonSets select it.
	NodeClassLabel = Prefix + "node-class"

	// ExcludeLabel is the node label by which an administrator leaves a node out, whatever the selectors say; with any value
	// but "false". The operator never sets it.
	ExcludeLabel = Prefix + "exclude"

	// LegacyDriverLabel is the node label that the legacy driver's pods select while kubectl imagecsi hands a cluster over. The
	// operator neither sets nor reads it.
	LegacyDriverLabel = Prefix + "legacy-driver"

	// StartupTaint is the key of the taint that an administrator may give new nodes, so that no pod arrives before the drivers
	// do. The operator removes it, and never adds it.
	StartupTaint = Prefix + "driver-not-ready"

	// DriverLabel is the label on every object rendered for an ImageCSIDriver; its value is the driver's name.
	DriverLabel = Prefix + "driver"

	// RevisionLabel is the label on a DaemonSet's pod template and pods that identifies the form of the node plugin: a hash of
	// the template.
	RevisionLabel = Prefix + "revision"

	// SandboxLabel is the label by which a pod says that its containers make sandboxes; its value is SandboxEngine.
	SandboxLabel = Prefix + "sandbox"

	// SandboxProbeLabel is the label of a node on which a sandbox is tried, or was: SandboxProbeRunning, which has the node run the
	// probe's pod, or the result. Without the label, it is tried again.
	SandboxProbeLabel = Prefix + "sandbox-probe"

	// SandboxNodeLabel is the label of a node on which a sandbox was made and held; its value is SandboxEngine. Kubernetes lets no
	// kubelet set labels under this prefix on its own node (Kubernetes documentation, "NodeRestriction").
	SandboxNodeLabel = "imagecsi.dev.node-restriction.kubernetes.io/sandboxes"

	// RolloutAnnotation is the annotation on a DaemonSet in which the operator records a rollout's state:
	// the last good pod template and why a change was rolled back.
	RolloutAnnotation = Prefix + "rollout"

	// Finalizer keeps an ImageCSIDriver until its DaemonSets, CSIDriver objects and node labels are gone.
	Finalizer = Prefix + "cleanup"
)

// Values of the labels about sandboxes.
const (
	SandboxEngine       = "bubblewrap"
	SandboxProbeRunning = "Running"
)

// SandboxProbeCommand is the argument with which the node plugin's program makes a sandbox instead of serving volumes.
const SandboxProbeCommand = "sandbox-probe"

// Keys of a volume's attributes (a PersistentVolume's or an inline volume's `csi.volumeAttributes`). Manifests
// for the legacy driver use them, so they never change. Unknown keys are ignored.
const (
	// ImageAttribute is the image reference; any Docker-style reference, short names included.
	ImageAttribute = "image"

	// VolumeHandleAttribute takes precedence over ImageAttribute if both are set.
	VolumeHandleAttribute = "volumeHandle"

	// PullAlwaysAttribute, "true" in any case, asks for a pull even when the image is present.
	PullAlwaysAttribute = "pullAlways"

	// PullPolicyAttribute is one of Always, IfNotPresent, Never; it takes precedence over PullAlwaysAttribute.
	PullPolicyAttribute = "pullPolicy"

	// SizeLimitAttribute is how much a writable volume may hold beside its image, as a quantity such as 500Mi.
	SizeLimitAttribute = "sizeLimit"

	// FormAttribute is one of Overlay and IDMappable. A pod with hostUsers: false needs the latter.
	FormAttribute = "form"

	// SecretAttribute and SecretNamespaceAttribute are in samples of the legacy driver, which does not read them.
	SecretAttribute          = "secret"
	SecretNamespaceAttribute = "secretNamespace"
)

// ImageAnnotation names the image of a PersistentVolumeClaim whose StorageClass has one of our names as its provisioner.
const ImageAnnotation = "csi.storage.k8s.io/image"

// Keys that the kubelet adds to the volume context when the CSIDriver object has podInfoOnMount: true.
const (
	PodNameAttribute      = "csi.storage.k8s.io/pod.name"
	PodNamespaceAttribute = "csi.storage.k8s.io/pod.namespace"
	EphemeralAttribute    = "csi.storage.k8s.io/ephemeral"
)

// TokensSecret is the key under which the kubelet passes the pod's service account tokens, among the secrets of a
// volume, when the CSIDriver object has tokenRequests and serviceAccountTokenInSecrets: true (KEP-5538). No Secret of
// a user can have it, because of its slash.
const TokensSecret = "csi.storage.k8s.io/serviceAccount.tokens" //nolint:gosec // a key, no credential

// The mount namespaces in which a node plugin can mount.
const (
	// ModeNsenter mounts in the host's mount namespace, entered by system calls.
	ModeNsenter = "Nsenter"

	// ModeBidirectional mounts in the pod's own mount namespace; the kubelet directory is shared with
	// Bidirectional propagation. It needs a privileged pod.
	ModeBidirectional = "Bidirectional"
)

// Runtimes whose image store a node plugin can read.
const (
	RuntimeContainerd = "containerd"
	RuntimeCRIO       = "cri-o"
)

// ImageRules is the JSON object in the file at ImageRulesPath: the driver administrator's rules for images.
type ImageRules struct {
	// AllowedImages are repositories in full, or paths of them that end with a slash. An empty list allows every image.
	AllowedImages []string `json:"allowedImages,omitempty"`
	// ImagePinning is PinningOptional or PinningDigest; empty stands for the former.
	ImagePinning ImagePinning `json:"imagePinning,omitempty"`
	// RefusedContent are the kinds of files that an image must not hold.
	RefusedContent []ImageContent `json:"refusedContent,omitempty"`
}

// Paths inside the node plugin's container. Everything else is mounted at the host's own path, so that a path
// means the same in both namespaces.
const (
	// HostNamespacePath is the directory at which the host's /proc/1/ns is mounted in Nsenter mode.
	HostNamespacePath = "/host/proc/1/ns"

	// NodeViewPath is where the driver's own directory is mounted once more in Bidirectional mode, with HostToContainer
	// propagation: what appears there has reached the node.
	NodeViewPath = "/host/plugin"

	// CredentialsPath is where the driver's own secrets are mounted: <CredentialsPath>/<name of the secret>/<key>.
	CredentialsPath = "/etc/imagecsi/credentials" //nolint:gosec // a path, no credential

	// ImageRulesDir is where the ConfigMap with the driver's rules for images is mounted, ImageRulesKey its key and
	// ImageRulesPath the file.
	ImageRulesDir  = "/etc/imagecsi/images"
	ImageRulesKey  = "rules.json"
	ImageRulesPath = ImageRulesDir + "/" + ImageRulesKey

	// ProviderDir is shared by the node plugin's container and that of the credential providers, and ProviderSocket
	// is where the latter answers.
	ProviderDir    = "/run/imagecsi/providers"
	ProviderSocket = ProviderDir + "/providers.sock"
)

// Paths inside the operator's image.
const (
	NodePluginBinary         = "/node-plugin"
	CredentialProviderBinary = "/credential-provider" //nolint:gosec // a path, no credential
)

// Paths below the kubelet's root directory.
const (
	// PluginsDir is where each CSI driver keeps its directory: <kubeletRoot>/plugins/<driver>.
	PluginsDir = "plugins"

	// RegistryDir is where the kubelet watches for registration sockets.
	RegistryDir = "plugins_registry"

	// SeccompDir is where the kubelet, and so the runtimes, look for the files of seccomp profiles.
	SeccompDir = "seccomp"

	// SocketName is the CSI socket's name in a driver's directory.
	SocketName = "csi.sock"
)

// Where the runtimes listen by default.
const (
	ContainerdEndpoint = "unix:///run/containerd/containerd.sock"
	CRIOEndpoint       = "unix:///run/crio/crio.sock"
)

// DefaultMaxParallelPulls is how many images a node pulls for volumes at a time, unless spec.volumes.maxParallelPulls says
// otherwise. It is the API's default.
const DefaultMaxParallelPulls = 4

// MaxReference bounds an image reference, in bytes. It is more than any valid one has: a name of 255 bytes, a tag of 128 and
// a digest.
const MaxReference = 1024

// CRIOPolicyDir is where CRI-O has its signature policies for namespaces by default (crio.conf(5), signature_policy_dir).
const CRIOPolicyDir = "/etc/crio/policies"

// Flags of the node plugin, as the DaemonSets pass them.
const (
	FlagDriverName       = "driver-name"        // the CSI driver name served
	FlagAlias            = "alias"              // a further name served; may be repeated
	FlagNodeName         = "node-name"          // the Node's name; default: $NODE_NAME
	FlagRuntime          = "runtime"            // containerd or cri-o
	FlagRuntimeEndpoint  = "runtime-endpoint"   // the CRI socket, unix:///…
	FlagMountMode        = "mount-mode"         // Nsenter or Bidirectional
	FlagNodeView         = "node-view"          // a view of the driver's directory that shows what the node mounts
	FlagKubeletRoot      = "kubelet-root"       // the kubelet's root directory
	FlagStorageRoot      = "storage-root"       // the runtime's image store directory (cri-o: the graph root)
	FlagPolicyDir        = "policy-dir"         // cri-o: its signature policies for namespaces
	FlagRunRoot          = "run-root"           // cri-o: the directory of the image store's run-time state
	FlagImageStore       = "image-store"        // cri-o: where images are kept apart from the graph root
	FlagAdditionalStore  = "additional-store"   // cri-o: an additional image store; may be repeated
	FlagHTTPAddress      = "http-address"       // where /metrics, /healthz and /readyz are served
	FlagLiveAddress      = "live-address"       // where the live view is served: an address of the loopback
	FlagPullPolicy       = "pull-policy"        // default pull policy of volumes that set none
	FlagAccess           = "access"             // ReadWrite or ReadOnly: whether pods may write to volumes
	FlagMaxParallelPulls = "max-parallel-pulls" // pulls at a time on one node
	FlagDefaultSizeLimit = "default-size-limit" // size limit of writable volumes that name none
	FlagMaxSizeLimit     = "max-size-limit"     // the largest size limit that a volume may name
	FlagLimitFallback    = "limit-fallback"     // Refuse or Memory: where the file system cannot limit a volume
	FlagOtherPlatforms   = "other-platforms"    // Refuse or Mount: images built for other platforms than the node's
	FlagMaxImageSize     = "max-image-size"     // the largest image that may be a volume
	FlagMaxVolumes       = "max-volumes"        // maximum number of volumes reported to the scheduler
	FlagReleaseAfter     = "release-after"      // how long an image that no volume uses stays pinned
	FlagOrphanAfter      = "orphan-after"       // how long what a pod wrote outlives the pod's directory
	FlagCredentialsDir   = "credentials-dir"    // where the driver's own secrets are mounted
	FlagProviderSocket   = "provider-socket"    // where credential providers are asked
	FlagVerify           = "verify-cached"      // NeverVerify, NeverVerifyPreloadedImages or AlwaysVerify
	FlagImageRules       = "image-rules"        // the file with the rules for images
	FlagWarmMetalMetrics = "warm-metal-metrics" // serves the metrics of the legacy driver as well
	FlagConfinement      = "confinement"        // what the container is meant to run under
	FlagSandboxProfile   = "sandbox-profile"    // the seccomp profile of sandboxes to keep on the node
	FlagLogLevel         = "log-level"          // error, info or debug
)

// Further flags of the credential providers' program.
const (
	FlagProviderConfig = "config"  // a CredentialProviderConfig, or a directory of them
	FlagProviderBinDir = "bin-dir" // the providers' programs
)

// NodeNameEnv is the environment variable in which a DaemonSet hands the Node's name to its pod.
const NodeNameEnv = "NODE_NAME"

// HTTPPort is the node plugin's port for health and metrics (the legacy driver's port for metrics).
const HTTPPort = 8080

// Node plugins in the network of their node have a port of their driver's instead, one of this many from the first on.
const (
	FirstHostPort = 28000
	HostPorts     = 1000
)

// LivePort is the port on the loopback of its pod at which a node plugin serves the live view, and OtherLivePort the one if HTTPPort was
// set to that.
const (
	LivePort      = 8082
	OtherLivePort = 8083
)

// Paths served at HTTPPort.
const (
	MetricsPath   = "/metrics"
	LivenessPath  = "/healthz"
	ReadinessPath = "/readyz"
)
