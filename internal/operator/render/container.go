package render

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/image-csi/image-csi-operator/api/v1alpha1"
	"github.com/image-csi/image-csi-operator/internal/contract"
	"github.com/image-csi/image-csi-operator/internal/operator/nodeclass"
	"github.com/image-csi/image-csi-operator/internal/quantity"
	"github.com/image-csi/image-csi-operator/internal/sandbox"
)

func container(driver *v1alpha1.ImageCSIDriver, names []string, class nodeclass.Class, settings Settings, mounts []corev1.VolumeMount) corev1.Container {
	out := program(driver, settings, ContainerName, contract.NodePluginBinary)
	out.Args = arguments(driver, names, class)
	out.Env = []corev1.EnvVar{{
		Name:      contract.NodeNameEnv,
		ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{APIVersion: "v1", FieldPath: "spec.nodeName"}},
	}}
	serves := endpointOf(driver, class)
	out.Ports = serves.ports()
	out.Resources = resources(driver.Spec.NodePlugin.Resources)
	// A node plugin that has to tidy up after a crash may take its time to start; once started, liveness asks
	// only whether the process answers, and readiness whether it can serve.
	out.StartupProbe = probe(serves, contract.LivenessPath, 2, 60)
	out.LivenessProbe = probe(serves, contract.LivenessPath, 20, 3)
	out.ReadinessProbe = probe(serves, contract.ReadinessPath, 5, 3)
	out.VolumeMounts = mounts
	return out
}

// program is a container that runs one of the programs in the node plugin's image.
func program(driver *v1alpha1.ImageCSIDriver, settings Settings, name, binary string) corev1.Container {
	plugin := driver.Spec.NodePlugin
	return corev1.Container{
		Name:            name,
		Image:           cmp.Or(plugin.Image, settings.NodePluginImage),
		ImagePullPolicy: cmp.Or(plugin.ImagePullPolicy, corev1.PullIfNotPresent),
		Command:         []string{binary},
		// A program that ends with an error says why in its last lines of log, which this puts into its status.
		TerminationMessagePolicy: corev1.TerminationMessageFallbackToLogsOnError,
	}
}

// logLevel is the argument that all of the programs have.
func logLevel(driver *v1alpha1.ImageCSIDriver) string {
	return option(contract.FlagLogLevel, strings.ToLower(string(cmp.Or(driver.Spec.NodePlugin.LogLevel, v1alpha1.LogInfo))))
}

// stores are the arguments about CRI-O's image store, as far as they are not what every node has.
func stores(driver *v1alpha1.ImageCSIDriver, class nodeclass.Class) []string {
	var args []string
	if class.RunRoot != "" {
		args = append(args, option(contract.FlagRunRoot, class.RunRoot))
	}
	set := storesOf(driver, class)
	if set.ImageStore != "" {
		args = append(args, option(contract.FlagImageStore, set.ImageStore))
	}
	for _, store := range set.AdditionalImageStores {
		args = append(args, option(contract.FlagAdditionalStore, store))
	}
	return args
}

// arguments of the node plugin.
func arguments(driver *v1alpha1.ImageCSIDriver, names []string, class nodeclass.Class) []string {
	args := []string{option(contract.FlagDriverName, names[0])}
	for _, alias := range names[1:] {
		args = append(args, option(contract.FlagAlias, alias))
	}
	if class.MountMode == contract.ModeBidirectional {
		args = append(args, option(contract.FlagNodeView, contract.NodeViewPath))
	}
	if class.Runtime == contract.RuntimeCRIO {
		args = append(args, option(contract.FlagPolicyDir, contract.CRIOPolicyDir))
	}
	volumes := driver.Spec.Volumes
	args = append(args,
		option(contract.FlagRuntime, class.Runtime),
		option(contract.FlagRuntimeEndpoint, class.RuntimeEndpoint),
		option(contract.FlagMountMode, class.MountMode),
		option(contract.FlagKubeletRoot, class.KubeletRoot),
		option(contract.FlagStorageRoot, class.StorageRoot),
		option(contract.FlagHTTPAddress, endpointOf(driver, class).address()),
		option(contract.FlagPullPolicy, cmp.Or(volumes.PullPolicy, corev1.PullIfNotPresent)),
		option(contract.FlagAccess, cmp.Or(volumes.Access, v1alpha1.AccessReadWrite)),
		option(contract.FlagMaxParallelPulls, cmp.Or(volumes.MaxParallelPulls, contract.DefaultMaxParallelPulls)),
		option(contract.FlagLimitFallback, cmp.Or(volumes.SizeLimitFallback, v1alpha1.FallbackRefuse)),
		option(contract.FlagOtherPlatforms, cmp.Or(volumes.OtherPlatforms, v1alpha1.OtherPlatformsRefuse)),
		option(contract.FlagVerify, cmp.Or(driver.Spec.Credentials.Verification, v1alpha1.NeverVerifyPreloadedImages)),
		option(contract.FlagImageRules, contract.ImageRulesPath),
		logLevel(driver),
	)
	if live := endpointOf(driver, class).live(); live != "" {
		args = append(args, option(contract.FlagLiveAddress, live))
	}
	args = append(args, stores(driver, class)...)
	if driver.Spec.NodePlugin.CompatibilityMetrics == v1alpha1.CompatibilityMetricsEnabled {
		args = append(args, option(contract.FlagWarmMetalMetrics, true))
	}
	for _, size := range []struct {
		flag string
		set  *resource.Quantity
	}{
		{contract.FlagMaxImageSize, volumes.MaxImageSize},
		{contract.FlagDefaultSizeLimit, volumes.DefaultSizeLimit},
		{contract.FlagMaxSizeLimit, volumes.MaxSizeLimit},
	} {
		if size.set != nil {
			// In whole bytes: the library's own form may have fractions by a negative exponent, which the node plugin refuses.
			args = append(args, option(size.flag, quantity.Format(size.set.Value())))
		}
	}
	if volumes.MaxVolumesPerNode != nil {
		args = append(args, option(contract.FlagMaxVolumes, *volumes.MaxVolumesPerNode))
	}
	if len(driver.Spec.Credentials.Secrets) > 0 {
		args = append(args, option(contract.FlagCredentialsDir, contract.CredentialsPath))
	}
	if driver.Spec.NestedSandboxes != nil {
		args = append(args, option(contract.FlagSandboxProfile, sandbox.Name()))
	}
	if driver.Spec.Credentials.Providers != nil {
		args = append(args, option(contract.FlagProviderSocket, contract.ProviderSocket))
	}
	return args
}

// AccessOf returns what a node plugin's container lets pods do with volumes. While a change rolls out, that is not what the driver
// asks for.
func AccessOf(container corev1.Container) v1alpha1.Access {
	if slices.Contains(container.Args, option(contract.FlagAccess, v1alpha1.AccessReadOnly)) {
		return v1alpha1.AccessReadOnly
	}
	return v1alpha1.AccessReadWrite
}

// SandboxProfileOf returns the seccomp profile that a node plugin keeps on its node; empty if it keeps none.
func SandboxProfileOf(container corev1.Container) string {
	for _, arg := range container.Args {
		if name, found := strings.CutPrefix(arg, option(contract.FlagSandboxProfile, "")); found {
			return name
		}
	}
	return ""
}

// ToldOf returns what a node plugin is told of its container's confinement, and whether it is told: those of earlier releases are not.
func ToldOf(container corev1.Container) (told contract.Confinement, is bool) {
	for _, arg := range container.Args {
		text, found := strings.CutPrefix(arg, option(contract.FlagConfinement, ""))
		if !found {
			continue
		}
		if told, err := contract.ParseConfinement(text); err == nil {
			return told, true
		}
	}
	return contract.Confinement{}, false
}

func option(name string, value any) string { return fmt.Sprintf("--%s=%v", name, value) }

func resources(set *v1alpha1.Resources) corev1.ResourceRequirements {
	if set != nil {
		return corev1.ResourceRequirements{Requests: set.Requests, Limits: set.Limits}
	}
	return corev1.ResourceRequirements{Requests: corev1.ResourceList{
		corev1.ResourceCPU:    resource.MustParse("10m"),
		corev1.ResourceMemory: resource.MustParse("64Mi"),
	}}
}

func probe(serves endpoint, path string, periodSeconds, failures int32) *corev1.Probe {
	return &corev1.Probe{
		ProbeHandler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{
			Path: path, Host: serves.host, Port: serves.probed(), Scheme: corev1.URISchemeHTTP,
		}},
		PeriodSeconds:    periodSeconds,
		TimeoutSeconds:   5,
		FailureThreshold: failures,
	}
}
