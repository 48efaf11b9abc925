package v1alpha1

// Credentials are for every volume of the driver.
type Credentials struct {
	// secrets names secrets, in the node plugins' namespace, of type kubernetes.io/dockerconfigjson or
	// kubernetes.io/dockercfg. The node plugins try those that match an image's registry, the longest path first,
	// after the credentials in the volume's own nodePublishSecretRef. Everyone who may create pods can use every
	// image that these secrets open. A secret may be missing. A change takes effect within about a minute, without a
	// restart.
	// +kubebuilder:validation:MaxItems=16
	// +listType=map
	// +listMapKey=name
	// +optional
	Secrets []SecretName `json:"secrets,omitempty"`

	// providers are the kubelet's credential provider plugins: programs on the nodes that hand out credentials. A
	// container of its own in each node plugin's pod, without privileges, runs them for images that the credentials
	// of the volume and the secrets above do not open. Default: none are run.
	// +optional
	Providers *CredentialProviders `json:"providers,omitempty"`

	// verification selects the images on a node for which the registry has to confirm that a volume's credentials open
	// them. NeverVerifyPreloadedImages: those that this driver pulled with credentials, and those that the kubelet pulled
	// with a pod's credentials by its own pull records (kubelets from 1.33 on can keep them). AlwaysVerify: all images;
	// new volumes then need the registry once. NeverVerify: none.
	// The names are those of the kubelet's imagePullCredentialsVerificationPolicy.
	// +kubebuilder:default=NeverVerifyPreloadedImages
	// +optional
	Verification Verification `json:"verification,omitempty"`
}

// CredentialProviders is where the nodes have the kubelet's credential provider plugins. Every node of the driver must
// have both paths: without them, the node plugin's pod does not start there.
// +kubebuilder:validation:XValidation:rule="self.configPath != self.binDir",message="configPath and binDir must be two different paths"
type CredentialProviders struct {
	// configPath is a CredentialProviderConfig of the kubelet on the nodes (its --image-credential-provider-config),
	// JSON or YAML, readable for all. Providers that require annotations of service accounts are refused.
	ConfigPath HostPath `json:"configPath"`

	// configType is what configPath names. File: one file; a change takes effect without a restart of the pod only if it
	// is made in place. Directory: a directory of files named *.json, *.yaml and *.yml.
	// +kubebuilder:default=File
	// +optional
	ConfigType ConfigType `json:"configType,omitempty"`

	// binDir is the directory of the providers' programs on the nodes (the kubelet's
	// --image-credential-provider-bin-dir). The programs must be static, and executable for all.
	BinDir HostPath `json:"binDir"`

	// tokenAudiences are the audiences for which pods' service account tokens are handed to providers that ask for
	// them in tokenAttributes. Needs Kubernetes 1.35; before, such providers get no token.
	// +kubebuilder:validation:MaxItems=8
	// +listType=set
	// +optional
	TokenAudiences []TokenAudience `json:"tokenAudiences,omitempty"`
}

// ConfigType is what the path of a configuration names.
// +kubebuilder:validation:Enum=File;Directory
type ConfigType string

// The types of a configuration's path.
const (
	// ConfigFile is a single file.
	ConfigFile ConfigType = "File"
	// ConfigDirectory is a directory of files.
	ConfigDirectory ConfigType = "Directory"
)

// TokenAudience is for whom a service account token is.
// +kubebuilder:validation:MinLength=1
// +kubebuilder:validation:MaxLength=253
type TokenAudience string

// Verification selects the images on a node for which a volume's credentials are verified.
// +kubebuilder:validation:Enum=NeverVerify;NeverVerifyPreloadedImages;AlwaysVerify
type Verification string

// The verification policies.
const (
	// NeverVerify gives every image on a node to every volume.
	NeverVerify Verification = "NeverVerify"
	// NeverVerifyPreloadedImages verifies for images that the driver, or by its records the kubelet, pulled with credentials.
	NeverVerifyPreloadedImages Verification = "NeverVerifyPreloadedImages"
	// AlwaysVerify verifies for every image.
	AlwaysVerify Verification = "AlwaysVerify"
)
