package render

import (
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/utils/ptr"

	"github.com/image-csi/image-csi-operator/api/v1alpha1"
	"github.com/image-csi/image-csi-operator/internal/operator/rollout"
)

// podTemplates are those of the DaemonSets that are applied and of those that exist: during a rollout, pods of both are made.
func podTemplates(lists ...[]Object) []corev1.PodSpec {
	var out []corev1.PodSpec
	for _, objects := range lists {
		for _, object := range objects {
			if daemonSet, is := object.(*appsv1.DaemonSet); is {
				out = append(out, daemonSet.Spec.Template.Spec)
			}
		}
	}
	return out
}

// earlierTemplates are those to which rollouts of DaemonSets may go back.
func earlierTemplates(objects []Object) []corev1.PodSpec {
	var out []corev1.PodSpec
	for _, object := range objects {
		if daemonSet, is := object.(*appsv1.DaemonSet); is {
			if earlier := rollout.Earlier(daemonSet); earlier != nil {
				out = append(out, earlier.Spec)
			}
		}
	}
	return out
}

// securityContextConstraints let the driver's service account have what its pods ask for, and nothing else. They name
// the account themselves, so that the operator needs no right to write RBAC. An empty list is written out, because
// OpenShift wants these fields present.
func securityContextConstraints(driver *v1alpha1.ImageCSIDriver, settings Settings, pods []corev1.PodSpec) *unstructured.Unstructured {
	constraints := SecurityContextConstraints().object(driver, "", bounded(driver.Name+"-node-plugin"))
	asked := needs(pods)
	for field, value := range map[string]any{
		"users":                    []any{"system:serviceaccount:" + settings.Namespace + ":" + ServiceAccountName(driver.Name)},
		"groups":                   []any{},
		"priority":                 int64(0),
		"allowPrivilegedContainer": asked.privileged,
		"allowPrivilegeEscalation": asked.privileged, // The API server takes no privileged container without.
		"allowedCapabilities":      texts(asked.capabilities),
		"defaultAddCapabilities":   []any{},
		"requiredDropCapabilities": []any{},
		"allowHostDirVolumePlugin": slices.Contains(asked.volumes, "hostPath"),
		"allowHostIPC":             false,
		"allowHostNetwork":         asked.hostNetwork,
		"allowHostPID":             false,
		"allowHostPorts":           false,
		"readOnlyRootFilesystem":   true,
		"volumes":                  texts(asked.volumes),
		"seccompProfiles":          texts(asked.seccomp),
		"runAsUser":                map[string]any{"type": "RunAsAny"},
		"seLinuxContext":           map[string]any{"type": "RunAsAny"},
		"fsGroup":                  map[string]any{"type": "RunAsAny"},
		"supplementalGroups":       map[string]any{"type": "RunAsAny"},
	} {
		constraints.Object[field] = value
	}
	return constraints
}

// privileges that pods ask for. The lists are sorted, but that runtime/default comes first.
type privileges struct {
	privileged, hostNetwork        bool
	capabilities, volumes, seccomp []string
}

func needs(pods []corev1.PodSpec) privileges {
	out := privileges{}
	for _, pod := range pods {
		out.hostNetwork = out.hostNetwork || pod.HostNetwork
		if pod.SecurityContext != nil {
			out.addSeccomp(pod.SecurityContext.SeccompProfile)
		}
		for _, container := range pod.Containers {
			out.add(container.SecurityContext)
		}
		for _, volume := range pod.Volumes {
			out.volumes = append(out.volumes, volumeType(volume.VolumeSource))
		}
	}
	for _, list := range []*[]string{&out.capabilities, &out.volumes, &out.seccomp} {
		slices.Sort(*list)
		*list = slices.Compact(*list)
	}
	// OpenShift gives the first one to pods that say nothing. Any other is a file, which a node may not have yet.
	out.seccomp = append([]string{"runtime/default"}, out.seccomp...)
	return out
}

func (p *privileges) add(context *corev1.SecurityContext) {
	if context == nil {
		return
	}
	p.privileged = p.privileged || ptr.Deref(context.Privileged, false)
	if context.Capabilities != nil {
		for _, capability := range context.Capabilities.Add {
			p.capabilities = append(p.capabilities, string(capability))
		}
	}
	p.addSeccomp(context.SeccompProfile)
}

func (p *privileges) addSeccomp(profile *corev1.SeccompProfile) {
	if profile != nil && profile.LocalhostProfile != nil {
		p.seccomp = append(p.seccomp, "localhost/"+*profile.LocalhostProfile)
	}
}

// volumeType is OpenShift's name for the kinds of volumes that node plugins have.
func volumeType(source corev1.VolumeSource) string {
	switch {
	case source.HostPath != nil:
		return "hostPath"
	case source.Projected != nil:
		return "projected"
	case source.Secret != nil:
		return "secret"
	case source.ConfigMap != nil:
		return "configMap"
	default:
		return "emptyDir"
	}
}

func texts(list []string) []any {
	out := make([]any, 0, len(list))
	for _, text := range list {
		out = append(out, text)
	}
	return out
}
