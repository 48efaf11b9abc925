package render

import (
	"slices"

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
	config := hostDirectory{name: providerConfigVolume, path: string(set.ConfigPath), kind: corev1.HostPathFile, readOnly: true}
	if set.ConfigType == v1alpha1.ConfigDirectory {
		config.kind = corev1.HostPathDirectory
	}
	bin := hostDirectory{name: providerBinVolume, path: string(set.BinDir), kind: corev1.HostPathDirectory, readOnly: true}
	// At their own paths, because a configuration may name files next to itself or to the programs.
	volumes, mounts := directories{config, bin}.split()
	container := program(driver, settings, ProvidersName, contract.CredentialProviderBinary)
	container.Args = []string{
		option(contract.FlagProviderConfig, config.path),
		option(contract.FlagProviderBinDir, bin.path),
		option(contract.FlagProviderSocket, contract.ProviderSocket),
		logLevel(driver),
	}
	// Programs of others must not take the node's memory.
	container.Resources = corev1.ResourceRequirements{
		Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("5m"), corev1.ResourceMemory: resource.MustParse("32Mi")},
		Limits:   corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("512Mi")},
	}
	container.SecurityContext = security.Unprivileged()
	container.VolumeMounts = slices.Concat(
		[]corev1.VolumeMount{{Name: providerSocketVolume, MountPath: contract.ProviderDir}},
		mounts,
		[]corev1.VolumeMount{{Name: providerTempVolume, MountPath: "/tmp"}},
	)
	return &container, slices.Concat(
		[]corev1.Volume{inMemory(providerSocketVolume, "1Mi")},
		volumes,
		[]corev1.Volume{inMemory(providerTempVolume, "16Mi")},
	)
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
