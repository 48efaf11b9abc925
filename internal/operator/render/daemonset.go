package render

import (
	"cmp"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/image-csi/image-csi-operator/api/v1alpha1"
	"github.com/image-csi/image-csi-operator/internal/contract"
	"github.com/image-csi/image-csi-operator/internal/operator/nodeclass"
	"github.com/image-csi/image-csi-operator/internal/operator/security"
)

// ContainerName is the name of the node plugin's container.
const ContainerName = "node-plugin"

const (
	priorityClass = "system-node-critical"
	// terminationGraceSeconds lets a publish that is under way end.
	terminationGraceSeconds = 30
)

var _ Object = (*appsv1.DaemonSet)(nil)

// daemonSet runs the node plugin on the nodes of a class, with a seccomp profile in a file or the runtime's own.
func daemonSet(driver *v1alpha1.ImageCSIDriver, names []string, class nodeclass.Class, settings Settings, seccompFile string) *appsv1.DaemonSet {
	return &appsv1.DaemonSet{
		TypeMeta: metav1.TypeMeta{APIVersion: appsv1.SchemeGroupVersion.String(), Kind: "DaemonSet"},
		ObjectMeta: metav1.ObjectMeta{
			Namespace: settings.Namespace,
			Name:      DaemonSetName(driver.Name, class.Name),
			Labels:    classLabels(driver, class.Name),
		},
		Spec: appsv1.DaemonSetSpec{
			Selector: &metav1.LabelSelector{MatchLabels: selector(driver, class.Name)},
			// Package rollout decides which pods are replaced, and when.
			UpdateStrategy: appsv1.DaemonSetUpdateStrategy{Type: appsv1.OnDeleteDaemonSetStrategyType},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{
					Labels:      classLabels(driver, class.Name),
					Annotations: podAnnotations(),
				},
				Spec: podSpec(driver, names, class, settings, seccompFile),
			},
		},
	}
}

func podAnnotations() map[string]string {
	return map[string]string{
		"kubectl.kubernetes.io/default-container": ContainerName,
		// An autoscaler that empties a node must not evict the node plugin before the pods whose volumes it unmounts
		// (Cluster Autoscaler, FAQ, on DaemonSet pods).
		"cluster-autoscaler.kubernetes.io/enable-ds-eviction": "false",
	}
}

func podSpec(driver *v1alpha1.ImageCSIDriver, names []string, class nodeclass.Class, settings Settings, seccompFile string) corev1.PodSpec {
	plugin := driver.Spec.NodePlugin
	volumes, mounts := hostDirectories(driver, class).split()
	secrets, secretMounts := credentials(driver)
	volumes, mounts = append(volumes, secrets...), append(mounts, secretMounts...)
	rules, rulesMount := imageRulesFile(driver)
	volumes, mounts = append(volumes, rules), append(mounts, rulesMount)
	sidecar, sidecarVolumes := providers(driver, settings)
	volumes, mounts = append(volumes, sidecarVolumes...), append(mounts, providerSocket(driver)...)
	containers := []corev1.Container{container(driver, names, class, settings, mounts)}
	class.Confinement = confinement(plugin.Confinement, class.Confinement)
	containers[0].SecurityContext = security.Context(class, driver.Spec.Volumes.Access, fieldOf(seccompFile))
	containers[0].Args = append(containers[0].Args, option(contract.FlagConfinement, security.Told(containers[0].SecurityContext, class.Confinement)))
	if sidecar != nil {
		containers = append(containers, *sidecar)
	}
	return join(corev1.PodSpec{
		ServiceAccountName:            ServiceAccountName(driver.Name),
		AutomountServiceAccountToken:  ptr.To(false),
		EnableServiceLinks:            ptr.To(false),
		PriorityClassName:             cmp.Or(plugin.PriorityClassName, priorityClass),
		TerminationGracePeriodSeconds: ptr.To[int64](terminationGraceSeconds),
		// The class label alone places the pods. It changes only while no pod of the node uses a volume; a further
		// selector here would remove the node plugin regardless.
		NodeSelector: map[string]string{
			contract.NodeClassLabel: class.Name,
			corev1.LabelOSStable:    string(corev1.Linux),
		},
		Tolerations:      tolerations(plugin),
		ImagePullSecrets: pullSecrets(plugin),
		Containers:       containers,
		Volumes:          volumes,
	}, class.Network)
}

// confinement returns what a class chooses, and for the rest what the driver chooses for all classes.
func confinement(driver *v1alpha1.ContainerConfinement, class v1alpha1.ContainerConfinement) v1alpha1.ContainerConfinement {
	if driver == nil {
		return class
	}
	out := v1alpha1.ContainerConfinement{
		SeccompProfile:       cmp.Or(class.SeccompProfile, driver.SeccompProfile),
		AppArmorProfile:      cmp.Or(class.AppArmorProfile, driver.AppArmorProfile),
		SELinuxOptions:       cmp.Or(class.SELinuxOptions, driver.SELinuxOptions),
		DropCapabilities:     driver.DropCapabilities,
		VolumeSELinuxOptions: cmp.Or(class.VolumeSELinuxOptions, driver.VolumeSELinuxOptions),
	}
	if class.DropCapabilities != nil {
		out.DropCapabilities = class.DropCapabilities
	}
	return out
}

func tolerations(plugin v1alpha1.NodePlugin) []corev1.Toleration {
	if len(plugin.Tolerations) == 0 {
		return []corev1.Toleration{{Operator: corev1.TolerationOpExists}}
	}
	var out []corev1.Toleration
	for _, toleration := range plugin.Tolerations {
		out = append(out, corev1.Toleration{Key: string(toleration.Key), Operator: corev1.TolerationOperator(toleration.Operator),
			Value: string(toleration.Value), Effect: corev1.TaintEffect(toleration.Effect), TolerationSeconds: toleration.TolerationSeconds})
	}
	// Without it, the node plugin would wait for the taint to go, and the taint for the node plugin.
	return append(out, corev1.Toleration{Key: contract.StartupTaint, Operator: corev1.TolerationOpExists})
}

func pullSecrets(plugin v1alpha1.NodePlugin) []corev1.LocalObjectReference {
	var out []corev1.LocalObjectReference
	for _, secret := range plugin.ImagePullSecrets {
		out = append(out, corev1.LocalObjectReference{Name: secret.Name})
	}
	return out
}
