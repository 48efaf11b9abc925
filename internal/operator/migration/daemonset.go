package migration

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/image-csi/image-csi-operator/internal/contract"
)

// Flags of the legacy driver's node plugin and of the node-driver-registrar beside it.
const (
	endpointFlag       = "endpoint"
	nodeFlag           = "node"
	runtimeFlag        = "runtime-addr"
	oldRuntimeFlag     = "containerd-addr"
	modeFlag           = "mode"
	registrationFlag   = "kubelet-registration-path"
	providerConfigFlag = "image-credential-provider-config"
	providerBinFlag    = "image-credential-provider-bin-dir"
)

// ErrOtherDriver is of a DaemonSet that does not run the legacy driver.
var ErrOtherDriver = errors.New("not the legacy driver's")

// ErrOtherImage is of a DaemonSet whose containers are told what the legacy driver is told, and whose image has another name.
var ErrOtherImage = errors.New("the image is not known as the legacy driver's")

// DriverNamesOf returns the CSI driver names under which a DaemonSet's pods serve as the legacy driver. The error is ErrOtherDriver
// or ErrOtherImage, and names what is missing.
func DriverNamesOf(set *appsv1.DaemonSet) ([]string, error) {
	if set.Labels[contract.DriverLabel] != "" {
		return nil, fmt.Errorf("%w: it belongs to ImageCSIDriver %s", ErrOtherDriver, set.Labels[contract.DriverLabel])
	}
	plugin := pluginContainer(set)
	if plugin == nil {
		return nil, fmt.Errorf("%w: no container has the flags --%s, --%s and --%s", ErrOtherDriver, endpointFlag, nodeFlag, runtimeFlag)
	}
	var names []string
	for i := range set.Spec.Template.Spec.Containers {
		socket := flags(&set.Spec.Template.Spec.Containers[i])[registrationFlag]
		if name := path.Base(path.Dir(socket)); slices.Contains(DriverNames(), name) && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return nil, fmt.Errorf("%w: no container registers one of its names (--%s)", ErrOtherDriver, registrationFlag)
	}
	if name := imageName(plugin.Image); !slices.Contains([]string{"container-image-csi-driver", "csi-image"}, name) {
		return names, fmt.Errorf("%w: %s", ErrOtherImage, plugin.Image)
	}
	return names, nil
}

// pluginContainer returns the container of the legacy driver's node plugin; nil if there is none.
func pluginContainer(set *appsv1.DaemonSet) *corev1.Container {
	containers := set.Spec.Template.Spec.Containers
	for i := range containers {
		given := flags(&containers[i])
		_, runs := given[runtimeFlag]
		_, ran := given[oldRuntimeFlag]
		if given[endpointFlag] != "" && given[nodeFlag] != "" && (runs || ran) && given[modeFlag] != "controller" {
			return &containers[i]
		}
	}
	return nil
}

// imageName is the last part of an image's repository.
func imageName(reference string) string {
	reference, _, _ = strings.Cut(reference, "@")
	name, _, _ := strings.Cut(path.Base(reference), ":")
	return name
}

// flags are those that a container's program is given, without their dashes, with variables of its manifest put in.
func flags(container *corev1.Container) map[string]string {
	all := slices.Concat(container.Command, container.Args)
	for i := range all {
		for _, variable := range container.Env {
			all[i] = strings.ReplaceAll(all[i], "$("+variable.Name+")", cmp.Or(variable.Value, variable.Name))
		}
	}
	out := map[string]string{}
	for i, argument := range all {
		name, value, has := strings.Cut(strings.TrimLeft(argument, "-"), "=")
		switch {
		case !strings.HasPrefix(argument, "-"):
		case has:
			out[name] = value
		case i+1 < len(all) && !strings.HasPrefix(all[i+1], "-"):
			out[name] = all[i+1]
		default:
			out[name] = "true"
		}
	}
	return out
}

// ValuesOf returns what a DaemonSet of the legacy driver is told, in the words of the chart's values. The service account is that of
// its pods; nil if it is not known.
func ValuesOf(set *appsv1.DaemonSet, account *corev1.ServiceAccount) map[string]any {
	plugin := pluginContainer(set)
	if plugin == nil {
		return nil
	}
	pod, given := &set.Spec.Template.Spec, flags(plugin)
	engine, socket := runtimeOf(given)
	program := map[string]any{"hostNetwork": pod.HostNetwork, "resources": plugin.Resources, "image": plugin.Image}
	addNumber(program, "metricsPort", given["metrics-port"])
	values := map[string]any{
		"runtime":          map[string]any{"engine": engine, "socketPath": socket},
		"enableAsyncPull":  given["async-pull-timeout"] != "0" && given["async-pull-timeout"] != "0s",
		"asyncPullTimeout": given["async-pull-timeout"],
		"csiPlugin":        program,
		"tolerations":      tolerationsOf(pod),
		"kubeletRoot":      kubeletRootOf(set),
	}
	if engine == "cri-o" {
		values["crioRuntimeRoot"] = hostPathWith(pod, "/storage")
	}
	addNumber(values, "logLevel", given["v"])
	if selector := maps.Clone(pod.NodeSelector); len(selector) > 0 {
		delete(selector, contract.LegacyDriverLabel) // of a handover that goes on
		if len(selector) > 0 {
			values["nodeSelector"] = selector
		}
	}
	if pod.Affinity != nil {
		values["affinity"] = pod.Affinity
	}
	if given[providerConfigFlag]+given[providerBinFlag] != "" {
		values["imageCredentialProvider"] = map[string]any{"enabled": true, "configPath": given[providerConfigFlag], "binDir": given[providerBinFlag]}
	}
	for _, variable := range plugin.Env {
		if variable.Name == "CSI_SELINUX_CONTEXT" {
			values["selinuxContext"] = variable.Value
		}
	}
	if account != nil {
		values["pullImageSecretForDaemonset"] = secretsOf(account)
	}
	return values
}

// runtimeOf is the runtime's engine and socket, of an address such as containerd:///run/containerd/containerd.sock.
func runtimeOf(given map[string]string) (engine, socket string) {
	address, has := given[runtimeFlag]
	if !has {
		address = given[oldRuntimeFlag]
	}
	engine = "containerd"
	if scheme, _, found := strings.Cut(address, "://"); found && scheme != "unix" {
		engine = scheme
	}
	return engine, address
}

// kubeletRootOf is the directory above plugins/<driver>/csi.sock.
func kubeletRootOf(set *appsv1.DaemonSet) string {
	for i := range set.Spec.Template.Spec.Containers {
		if root, _, found := strings.Cut(flags(&set.Spec.Template.Spec.Containers[i])[registrationFlag], "/"+contract.PluginsDir+"/"); found {
			return root
		}
	}
	return ""
}

// hostPathWith is the first directory of the node in a pod whose path ends so.
func hostPathWith(pod *corev1.PodSpec, end string) string {
	for i := range pod.Volumes {
		if host := pod.Volumes[i].HostPath; host != nil && strings.HasSuffix(strings.TrimRight(host.Path, "/"), end) {
			return host.Path
		}
	}
	return ""
}

// tolerationsOf are those of the manifest. The DaemonSet controller adds its own to pods only.
func tolerationsOf(pod *corev1.PodSpec) []any {
	out := make([]any, 0, len(pod.Tolerations))
	for i := range pod.Tolerations {
		out = append(out, pod.Tolerations[i])
	}
	return out
}

func secretsOf(account *corev1.ServiceAccount) []any {
	out := make([]any, 0, len(account.ImagePullSecrets))
	for _, secret := range account.ImagePullSecrets {
		out = append(out, secret.Name)
	}
	return out
}

// addNumber adds a value of a flag that was given.
func addNumber(values map[string]any, key, text string) {
	if number, err := strconv.Atoi(text); err == nil {
		values[key] = number
	}
}
