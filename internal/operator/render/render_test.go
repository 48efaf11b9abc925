package render

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/sets"
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
	both := Input{Driver: full(), Names: Names(full()), Settings: settings,
		Classes: []nodeclass.Class{class(t, nodeclass.Containerd), class(t, nodeclass.CRIO)}}
	existing := Render(both).Apply

	one := Input{Driver: minimal(), Names: Names(minimal()), Settings: settings, Existing: existing, Classes: both.Classes[:1]}
	want := []string{"csi-image.warm-metal.tech", "z.example.com", "container-image.csi.k8s.io-crio", "sandbox-probe.container-image.csi.k8s.io"}
	if got := names(Render(one).Delete); !slices.Equal(got, want) {
		t.Errorf("deleted %q, want %q", got, want)
	}

	others := slices.Concat(want[:2], want[3:])
	one.Unresolved = []string{nodeclass.CRIO}
	if got := names(Render(one).Delete); !slices.Equal(got, others) {
		t.Errorf("with nodes still in crio, deleted %q, want %q", got, others)
	}
	one.Unresolved = nil
	crio := slices.IndexFunc(existing, func(o Object) bool { return o.GetName() == want[2] })
	existing[crio].(*appsv1.DaemonSet).Status.DesiredNumberScheduled = 1
	if got := names(Render(one).Delete); !slices.Equal(got, others) {
		t.Errorf("with a node of crio that is not seen, deleted %q, want %q", got, others)
	}
	if got := Render(Input{Driver: full(), Names: Names(full()), Settings: settings, Existing: existing, Classes: both.Classes}).Delete; got != nil {
		t.Errorf("nothing changed, but deleted %q", names(got))
	}
}

func TestObjectsDoNotDependOnTheOrderOfTheInput(t *testing.T) {
	a, b := class(t, nodeclass.Containerd), class(t, nodeclass.CRIO)
	driver := full()
	first := Render(Input{Driver: driver, Names: Names(driver), Settings: settings, Classes: []nodeclass.Class{a, b}})
	driver.Spec.Aliases = []v1alpha1.DriverName{driver.Spec.Aliases[1], driver.Spec.Aliases[0]}
	second := Render(Input{Driver: driver, Names: Names(driver), Settings: settings, Classes: []nodeclass.Class{b, a}})
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

func TestNoTwoPairsOfDriverAndClassHaveOneName(t *testing.T) {
	seen := map[string]string{}
	for _, pair := range [][2]string{
		{"image.example.com", "x-containerd"}, {"image.example.com-x", "containerd"}, {"image.example.com-x", "y-containerd"},
		{"image.example.com-x-y", "containerd"}, {"a", "b-c-d"}, {"a-b", "c-d"}, {"a-b-c", "d"},
		{strings.Repeat("a", 55) + "-x", "containerd"}, {strings.Repeat("a", 55), "x-containerd"}, {strings.Repeat("a", 55) + "-x", "crio"},
	} {
		name := DaemonSetName(pair[0], pair[1])
		if other, has := seen[name]; has {
			t.Errorf("%v and %s are both %q", pair, other, name)
		}
		seen[name] = strings.Join(pair[:], " ")
		if len(name) > 63 || len(validation.IsDNS1123Subdomain(name)) > 0 {
			t.Errorf("%v has name %q (%d characters)", pair, name, len(name))
		}
	}
	for pair, want := range map[[2]string]string{
		{"container-image.csi.k8s.io", "gpu-pool"}:  "container-image.csi.k8s.io-gpu-pool",
		{"csi-image.warm-metal.tech", "containerd"}: "csi-image.warm-metal.tech-containerd",
	} {
		if got := DaemonSetName(pair[0], pair[1]); got != want {
			t.Errorf("%v has name %q, and had %q in earlier releases", pair, got, want)
		}
	}
}

func TestADaemonSetOfAnEarlierReleaseKeepsItsName(t *testing.T) {
	driver := minimal()
	driver.Name = "image-csi"
	old := &appsv1.DaemonSet{ObjectMeta: metav1.ObjectMeta{Namespace: settings.Namespace, Name: "image-csi-containerd", Labels: classLabels(driver, "containerd")}}
	in := Input{Driver: driver, Names: Names(driver), Settings: settings, Classes: []nodeclass.Class{class(t, nodeclass.Containerd)}, Existing: []Object{old}}
	out := Render(in)
	if Find(out.Apply, old) == nil || len(out.Delete) > 0 {
		t.Errorf("applied %q, deleted %q", names(out.Apply), names(out.Delete))
	}
	in.Existing = nil
	if Find(Render(in).Apply, old) != nil {
		t.Error("a new one has the name that another driver's class could have")
	}
}

func TestWhatTheAPIServerLacksIsLeftOutAndTold(t *testing.T) {
	in := Input{Driver: full(), Names: Names(full()), Settings: settings, Lacking: sets.New(TokensInSecrets())}
	out := Render(in)
	for _, object := range out.Apply {
		if csiDriver, is := object.(*storagev1.CSIDriver); is && (csiDriver.Spec.ServiceAccountTokenInSecrets != nil || csiDriver.Spec.TokenRequests != nil) {
			t.Errorf("%s has %+v", csiDriver.Name, csiDriver.Spec)
		}
	}
	if len(out.Costs) != 1 {
		t.Errorf("costs %v", out.Costs)
	}
	in.Driver.Spec.Credentials.Providers.TokenAudiences = nil
	if costs := Render(in).Costs; len(costs) != 0 {
		t.Errorf("it costs %v what nobody asks for", costs)
	}
	in = Input{Driver: full(), Names: Names(full()), Settings: settings}
	if csiDriver := Render(in).Apply[0].(*storagev1.CSIDriver); csiDriver.Spec.TokenRequests == nil || len(Render(in).Costs) != 0 {
		t.Errorf("a server that has the field gets %+v", csiDriver.Spec)
	}
}

// The promises that the node plugin's pods make in every class, whatever the driver's spec.
func TestEveryPodKeepsToTheLeast(t *testing.T) {
	for _, name := range nodeclass.Names() {
		for _, mode := range []v1alpha1.MountMode{contract.ModeNsenter, contract.ModeBidirectional} {
			testLeast(t, class(t, name, v1alpha1.NodeClass{Name: name, MountMode: mode}))
		}
	}
}

func testLeast(t *testing.T, class nodeclass.Class) {
	t.Helper()
	name := fmt.Sprintf("%s in mode %s", class.Name, class.MountMode)
	for _, driver := range []*v1alpha1.ImageCSIDriver{minimal(), full()} {
		var daemonSet *appsv1.DaemonSet
		for _, object := range Render(Input{Driver: driver, Names: Names(driver), Settings: settings, Classes: []nodeclass.Class{class}}).Apply {
			switch object := object.(type) {
			case *appsv1.DaemonSet:
				if !IsSandboxProbe(object) {
					daemonSet = object
				}
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
		if nsenter := class.MountMode == contract.ModeNsenter; nsenter == *pod.Containers[0].SecurityContext.Privileged {
			t.Errorf("%s: privileged is %v", name, *pod.Containers[0].SecurityContext.Privileged)
		}
		for _, mount := range pod.Containers[0].VolumeMounts {
			bidirectional := mount.MountPropagation != nil && *mount.MountPropagation == corev1.MountPropagationBidirectional
			if bidirectional && class.MountMode == contract.ModeNsenter {
				t.Errorf("%s: %s is mounted Bidirectional", name, mount.MountPath)
			}
			if strings.HasPrefix(mount.MountPath, "/var/lib/kubelet/pods") {
				t.Errorf("%s: the pods' directory is mounted", name)
			}
			if class.MountMode == contract.ModeNsenter && mount.MountPath == class.KubeletRoot {
				t.Errorf("%s: the kubelet's directory is mounted", name)
			}
		}
	}
}

// The programs of credential providers are somebody else's.
func TestCredentialProvidersRunWithoutPrivileges(t *testing.T) {
	for _, name := range nodeclass.Names() {
		driver := minimal()
		driver.Spec.Credentials.Providers = &v1alpha1.CredentialProviders{ConfigPath: "/etc/p", BinDir: "/opt/p", ConfigType: v1alpha1.ConfigDirectory}
		pod := daemonSet(driver, Names(driver), class(t, name), settings, "").Spec.Template.Spec
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
	bare := Render(Input{Driver: minimal(), Names: Names(minimal()), Settings: settings, Classes: classes}).Apply
	if diff := cmp.Diff(bare, Render(Input{Driver: defaulted, Names: Names(defaulted), Settings: settings, Classes: classes}).Apply); diff != "" {
		t.Error("(-bare +defaulted):\n" + diff)
	}
}
