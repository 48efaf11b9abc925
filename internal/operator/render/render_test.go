package render

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/utils/ptr"

	"github.com/image-csi/image-csi-operator/api/v1alpha1"
	"github.com/image-csi/image-csi-operator/internal/contract"
	"github.com/image-csi/image-csi-operator/internal/operator/nodeclass"
)

func names(objects []Object) []string {
	var out []string
	for _, object := range objects {
		out = append(out, object.GetName())
	}
	return out
}

func TestWhatIsNoLongerRenderedIsDeleted(t *testing.T) {
	both := Input{Driver: full(), Settings: settings,
		Classes: []nodeclass.Class{class(t, nodeclass.Containerd), class(t, nodeclass.CRIO)}}
	existing := Render(both).Apply

	one := Input{Driver: minimal(), Settings: settings, Existing: existing, Classes: both.Classes[:1]}
	want := []string{"csi-image.warm-metal.tech", "z.example.com", "container-image.csi.k8s.io-crio"}
	if got := names(Render(one).Delete); !slices.Equal(got, want) {
		t.Errorf("deleted %q, want %q", got, want)
	}

	one.Unresolved = []string{nodeclass.CRIO}
	if got := names(Render(one).Delete); !slices.Equal(got, want[:2]) {
		t.Errorf("with nodes still in crio, deleted %q, want %q", got, want[:2])
	}
	one.Unresolved = nil
	crio := slices.IndexFunc(existing, func(o Object) bool { return o.GetName() == want[2] })
	existing[crio].(*appsv1.DaemonSet).Status.DesiredNumberScheduled = 1
	if got := names(Render(one).Delete); !slices.Equal(got, want[:2]) {
		t.Errorf("with a node of crio that is not seen, deleted %q, want %q", got, want[:2])
	}
	if got := Render(Input{Driver: full(), Settings: settings, Existing: existing, Classes: both.Classes}).Delete; got != nil {
		t.Errorf("nothing changed, but deleted %q", names(got))
	}
}

func TestObjectsDoNotDependOnTheOrderOfTheInput(t *testing.T) {
	a, b := class(t, nodeclass.Containerd), class(t, nodeclass.CRIO)
	driver := full()
	first := Render(Input{Driver: driver, Settings: settings, Classes: []nodeclass.Class{a, b}})
	driver.Spec.Aliases = []v1alpha1.DriverName{driver.Spec.Aliases[1], driver.Spec.Aliases[0]}
	second := Render(Input{Driver: driver, Settings: settings, Classes: []nodeclass.Class{b, a}})
	if !slices.Equal(names(first.Apply), names(second.Apply)) {
		t.Errorf("%q, then %q", names(first.Apply), names(second.Apply))
	}
}

func TestLongNamesAreCutAndStayApart(t *testing.T) {
	driver := strings.Repeat("a", 54) + ".example"
	seen := map[string]bool{}
	for _, class := range []string{"containerd", "crio", "containerd-with-a-long-name-of-its-own"} {
		name := DaemonSetName(driver, class)
		if len(name) > 63 || seen[name] || len(validation.IsDNS1123Subdomain(name)) > 0 {
			t.Errorf("name %q for class %q: %d characters, seen before: %v", name, class, len(name), seen[name])
		}
		seen[name] = true
	}
}

// The promises that the node plugin's pods make in every class, whatever the driver's spec.
func TestEveryPodKeepsToTheLeast(t *testing.T) {
	for _, name := range nodeclass.Names() {
		for _, driver := range []*v1alpha1.ImageCSIDriver{minimal(), full()} {
			var daemonSet *appsv1.DaemonSet
			for _, object := range Render(Input{Driver: driver, Settings: settings, Classes: []nodeclass.Class{class(t, name)}}).Apply {
				switch object := object.(type) {
				case *appsv1.DaemonSet:
					daemonSet = object
				case *corev1.ServiceAccount:
					if *object.AutomountServiceAccountToken {
						t.Errorf("%s: the account's token is mounted", name)
					}
				}
			}
			if daemonSet == nil {
				t.Fatalf("%s has no DaemonSet", name)
			}
			pod := daemonSet.Spec.Template.Spec
			if pod.HostNetwork || pod.HostPID || pod.HostIPC || *pod.AutomountServiceAccountToken {
				t.Errorf("%s: host namespaces or a token", name)
			}
			// A pod's tokens for credential providers come with each volume, by the CSIDriver's tokenRequests.
			for _, volume := range pod.Volumes {
				if volume.Projected == nil {
					continue
				}
				for _, source := range volume.Projected.Sources {
					if source.ServiceAccountToken != nil {
						t.Errorf("%s: volume %s has a token for the API server", name, volume.Name)
					}
				}
			}
			if nsenter := class(t, name).MountMode == contract.ModeNsenter; nsenter == *pod.Containers[0].SecurityContext.Privileged {
				t.Errorf("%s: privileged is %v", name, *pod.Containers[0].SecurityContext.Privileged)
			}
			for _, mount := range pod.Containers[0].VolumeMounts {
				bidirectional := mount.MountPropagation != nil && *mount.MountPropagation == corev1.MountPropagationBidirectional
				if bidirectional && class(t, name).MountMode == contract.ModeNsenter {
					t.Errorf("%s: %s is mounted Bidirectional", name, mount.MountPath)
				}
				if strings.HasPrefix(mount.MountPath, "/var/lib/kubelet/pods") {
					t.Errorf("%s: the pods' directory is mounted", name)
				}
			}
		}
	}
}

// The programs of credential providers are somebody else's.
func TestCredentialProvidersRunWithoutPrivileges(t *testing.T) {
	for _, name := range nodeclass.Names() {
		driver := minimal()
		driver.Spec.Credentials.Providers = &v1alpha1.CredentialProviders{ConfigPath: "/etc/p", BinDir: "/opt/p", ConfigType: v1alpha1.ConfigDirectory}
		pod := daemonSet(driver, class(t, name), settings, "").Spec.Template.Spec
		container := pod.Containers[1]
		context := container.SecurityContext
		if context.Privileged != nil || *context.AllowPrivilegeEscalation || !*context.RunAsNonRoot || !*context.ReadOnlyRootFilesystem ||
			len(context.Capabilities.Add) > 0 || !slices.Equal(context.Capabilities.Drop, []corev1.Capability{"ALL"}) ||
			context.SeccompProfile.Type != corev1.SeccompProfileTypeRuntimeDefault {
			t.Errorf("%s: %+v", name, context)
		}
		kinds := map[string]corev1.VolumeSource{}
		for _, volume := range pod.Volumes {
			kinds[volume.Name] = volume.VolumeSource
		}
		for _, mount := range container.VolumeMounts {
			source := kinds[mount.Name]
			readOnly := mount.ReadOnly && source.HostPath != nil && *source.HostPath.Type == corev1.HostPathDirectory
			if source.EmptyDir == nil && !readOnly {
				t.Errorf("%s: %s is mounted from %+v", name, mount.MountPath, source)
			}
		}
	}
}

// The API server fills in the defaults; an object that it has not seen must lead to the same pods.
func TestTheAPIsDefaultsAreTheRenderersDefaults(t *testing.T) {
	defaulted := minimal()
	defaulted.Spec = v1alpha1.ImageCSIDriverSpec{
		ManagementState: v1alpha1.Managed,
		NodePlugin:      v1alpha1.NodePlugin{ImagePullPolicy: corev1.PullIfNotPresent, PriorityClassName: "system-node-critical", LogLevel: v1alpha1.LogInfo, CompatibilityMetrics: v1alpha1.CompatibilityMetricsDisabled},
		Volumes:         v1alpha1.Volumes{PullPolicy: corev1.PullIfNotPresent, MaxParallelPulls: 4},
		Rollout:         v1alpha1.Rollout{MaxUnavailable: ptr.To(intstr.FromString("10%"))},
	}
	classes := []nodeclass.Class{class(t, nodeclass.Containerd)}
	bare := Render(Input{Driver: minimal(), Settings: settings, Classes: classes}).Apply
	if diff := cmp.Diff(bare, Render(Input{Driver: defaulted, Settings: settings, Classes: classes}).Apply); diff != "" {
		t.Error("(-bare +defaulted):\n" + diff)
	}
}
