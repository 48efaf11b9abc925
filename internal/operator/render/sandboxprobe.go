package render

import (
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/image-csi/image-csi-operator/api/v1alpha1"
	"github.com/image-csi/image-csi-operator/internal/contract"
	"github.com/image-csi/image-csi-operator/internal/operator/probing"
	"github.com/image-csi/image-csi-operator/internal/sandbox"
)

const (
	probeName      = "image-csi-sandbox-probe"
	probeContainer = "sandbox-probe"
	probeTemp      = "temp"
	// probeUser is the user that pods that make sandboxes have by default (config/mutation/sandbox_pods.yaml).
	probeUser = 1000
)

// IsSandboxProbe reports whether a DaemonSet is that of probes of sandboxes, and not one of node plugins.
func IsSandboxProbe(daemonSet *appsv1.DaemonSet) bool {
	return daemonSet.Labels[contract.SandboxLabel] != ""
}

// sandboxProbe tries a sandbox on the nodes with the label imagecsi.dev/sandbox-probe=Running. Its pod is what config/mutation makes of
// one with the label imagecsi.dev/sandbox, and config/admission holds the operator to it (operator_sandbox_probes.yaml).
func sandboxProbe(driver *v1alpha1.ImageCSIDriver, settings Settings) *appsv1.DaemonSet {
	own := labels(driver)
	own[nameLabel], own[componentLabel], own[contract.SandboxLabel] = probeName, probeContainer, contract.SandboxEngine
	podLabels := labels(driver)
	for key, value := range own {
		podLabels[key] = value
	}
	podLabels[contract.RevisionLabel] = probing.Revision()
	return &appsv1.DaemonSet{
		TypeMeta:   metav1.TypeMeta{APIVersion: appsv1.SchemeGroupVersion.String(), Kind: "DaemonSet"},
		ObjectMeta: metav1.ObjectMeta{Namespace: settings.Namespace, Name: bounded(probeContainer + "." + driver.Name), Labels: own},
		Spec: appsv1.DaemonSetSpec{
			Selector:       &metav1.LabelSelector{MatchLabels: map[string]string{nameLabel: probeName, contract.DriverLabel: driver.Name}},
			UpdateStrategy: appsv1.DaemonSetUpdateStrategy{Type: appsv1.RollingUpdateDaemonSetStrategyType},
			Template:       corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: podLabels}, Spec: probePod(driver, settings)},
		},
	}
}

func probePod(driver *v1alpha1.ImageCSIDriver, settings Settings) corev1.PodSpec {
	container := program(driver, settings, probeContainer, contract.NodePluginBinary)
	container.Args = []string{contract.SandboxProbeCommand}
	container.TerminationMessagePolicy = corev1.TerminationMessageReadFile
	container.Resources = corev1.ResourceRequirements{
		Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("10m"), corev1.ResourceMemory: resource.MustParse("32Mi")},
		Limits:   corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("128Mi")},
	}
	container.SecurityContext = &corev1.SecurityContext{
		AllowPrivilegeEscalation: ptr.To(false),
		ReadOnlyRootFilesystem:   ptr.To(true),
		ProcMount:                ptr.To(corev1.UnmaskedProcMount),
		Capabilities:             &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
	}
	container.VolumeMounts = []corev1.VolumeMount{{Name: probeTemp, MountPath: "/tmp"}}
	return corev1.PodSpec{
		HostUsers:                     ptr.To(false),
		ServiceAccountName:            ServiceAccountName(driver.Name),
		AutomountServiceAccountToken:  ptr.To(false),
		EnableServiceLinks:            ptr.To(false),
		TerminationGracePeriodSeconds: ptr.To[int64](1),
		SecurityContext: &corev1.PodSecurityContext{
			RunAsNonRoot: ptr.To(true), RunAsUser: ptr.To[int64](probeUser), RunAsGroup: ptr.To[int64](probeUser),
			SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeLocalhost, LocalhostProfile: ptr.To(sandbox.Name())},
			SELinuxOptions: &corev1.SELinuxOptions{Type: contract.SELinuxSandboxes}, // Nodes without SELinux pass over it.
		},
		NodeSelector:     map[string]string{contract.SandboxProbeLabel: contract.SandboxProbeRunning, corev1.LabelOSStable: string(corev1.Linux)},
		Tolerations:      tolerations(driver.Spec.NodePlugin),
		ImagePullSecrets: pullSecrets(driver.Spec.NodePlugin),
		Containers:       []corev1.Container{container},
		// In memory, as the token that pods have: not every kernel maps the users of such a file system.
		Volumes: []corev1.Volume{{Name: probeTemp, VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{
			Medium: corev1.StorageMediumMemory, SizeLimit: ptr.To(resource.MustParse("1Mi"))}}}},
	}
}
