package render

import (
	"cmp"
	"strings"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/utils/ptr"

	"github.com/image-csi/image-csi-operator/api/v1alpha1"
	"github.com/image-csi/image-csi-operator/internal/contract"
	"github.com/image-csi/image-csi-operator/internal/operator/security"
)

// ProvidersName is the name of the container that runs the nodes' credential providers.
const ProvidersName = "credential-provider"

const (
	providerSocketVolume = "provider-socket"
	providerConfigVolume = "provider-config"
	providerBinVolume    = "provider-programs"
	providerTempVolume   = "provider-temp"
)

// providers runs the nodes' credential providers in a container of their own. What it shares with the node plugin is
// the directory of one socket; nil without providers.
func providers(driver *v1alpha1.ImageCSIDriver, settings Settings) (*corev1.Container, []corev1.Volume) {
	set := driver.Spec.Credentials.Providers
	if set == nil {
		return nil, nil
	}
	plugin := driver.Spec.NodePlugin
	config, bin := string(set.ConfigPath), string(set.BinDir)
	kind := corev1.HostPathFile
	if set.ConfigType == v1alpha1.ConfigDirectory {
		kind = corev1.HostPathDirectory
	}
	container := &corev1.Container{
		Name:            ProvidersName,
		Image:           cmp.Or(plugin.Image, settings.NodePluginImage),
		ImagePullPolicy: cmp.Or(plugin.ImagePullPolicy, corev1.PullIfNotPresent),
		Command:         []string{contract.CredentialProviderBinary},
		Args: []string{
			option(contract.FlagProviderConfig, config),
			option(contract.FlagProviderBinDir, bin),
			option(contract.FlagProviderSocket, contract.ProviderSocket),
			option(contract.FlagLogLevel, strings.ToLower(string(cmp.Or(plugin.LogLevel, v1alpha1.LogInfo)))),
		},
		// Programs of others must not take the node's memory.
		Resources: corev1.ResourceRequirements{
			Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("5m"), corev1.ResourceMemory: resource.MustParse("32Mi")},
			Limits:   corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("512Mi")},
		},
		SecurityContext: security.Unprivileged(),
		VolumeMounts: []corev1.VolumeMount{
			{Name: providerSocketVolume, MountPath: contract.ProviderDir},
			// At their own paths, because a configuration may name files next to itself or to the programs.
			{Name: providerConfigVolume, MountPath: config, ReadOnly: true},
			{Name: providerBinVolume, MountPath: bin, ReadOnly: true},
			{Name: providerTempVolume, MountPath: "/tmp"},
		},
		TerminationMessagePolicy: corev1.TerminationMessageFallbackToLogsOnError,
	}
	return container, []corev1.Volume{
		inMemory(providerSocketVolume, "1Mi"),
		hostPath(providerConfigVolume, config, kind),
		hostPath(providerBinVolume, bin, corev1.HostPathDirectory),
		inMemory(providerTempVolume, "16Mi"),
	}
}

// providerSocket is how the node plugin reaches the providers' container.
func providerSocket(driver *v1alpha1.ImageCSIDriver) []corev1.VolumeMount {
	if driver.Spec.Credentials.Providers == nil {
		return nil
	}
	return []corev1.VolumeMount{{Name: providerSocketVolume, MountPath: contract.ProviderDir, ReadOnly: true}}
}

// tokenRequests has the kubelet hand over pods' tokens for the audiences that providers ask for.
func tokenRequests(driver *v1alpha1.ImageCSIDriver) []storagev1.TokenRequest {
	set := driver.Spec.Credentials.Providers
	if set == nil {
		return nil
	}
	var requests []storagev1.TokenRequest
	for _, audience := range set.TokenAudiences {
		requests = append(requests, storagev1.TokenRequest{Audience: string(audience)})
	}
	return requests
}

func inMemory(name, size string) corev1.Volume {
	return corev1.Volume{Name: name, VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{
		Medium: corev1.StorageMediumMemory, SizeLimit: ptr.To(resource.MustParse(size)),
	}}}
}

func hostPath(name, path string, kind corev1.HostPathType) corev1.Volume {
	return corev1.Volume{Name: name, VolumeSource: corev1.VolumeSource{
		HostPath: &corev1.HostPathVolumeSource{Path: path, Type: ptr.To(kind)},
	}}
}
