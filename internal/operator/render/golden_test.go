package render

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/yaml"

	"github.com/image-csi/image-csi-operator/api/v1alpha1"
	"github.com/image-csi/image-csi-operator/internal/contract"
	"github.com/image-csi/image-csi-operator/internal/operator/nodeclass"
)

var update = flag.Bool("update", false, "rewrite the golden files")

var settings = Settings{Namespace: "image-csi-system", OperatorNamespace: "image-csi-operator", NodePluginImage: "example.com/node-plugin:v1"}

func minimal() *v1alpha1.ImageCSIDriver {
	return &v1alpha1.ImageCSIDriver{ObjectMeta: metav1.ObjectMeta{Name: contract.DefaultDriverName}}
}

// full sets every field that the objects depend on.
func full() *v1alpha1.ImageCSIDriver {
	driver := minimal()
	driver.Spec = v1alpha1.ImageCSIDriverSpec{
		Aliases: []v1alpha1.DriverName{"z.example.com", "csi-image.warm-metal.tech"},
		NodePlugin: v1alpha1.NodePlugin{
			Image:             "example.com/other:v2",
			ImagePullPolicy:   corev1.PullAlways,
			ImagePullSecrets:  []v1alpha1.SecretName{{Name: "pull"}},
			Resources:         &v1alpha1.Resources{Limits: corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("256Mi")}},
			Tolerations:       []v1alpha1.Toleration{{Key: "dedicated", Operator: "Equal", Value: "gpu", Effect: "NoSchedule"}},
			PriorityClassName: "high",
			LogLevel:          v1alpha1.LogDebug,
			HTTPPort:          9090,

			CompatibilityMetrics: v1alpha1.CompatibilityMetricsEnabled,
			Confinement: &v1alpha1.ContainerConfinement{
				SeccompProfile:  &v1alpha1.ContainerSeccompProfile{Type: v1alpha1.SeccompProfileLocalhost, LocalhostProfile: "team/node-plugin.json"},
				AppArmorProfile: &v1alpha1.ContainerAppArmorProfile{Type: v1alpha1.AppArmorProfileLocalhost, LocalhostProfile: "team-node-plugin"},
				SELinuxOptions:  &v1alpha1.ContainerSELinuxOptions{Type: "team_t", Level: "s0:c1,c2"},

				DropCapabilities:     []v1alpha1.DroppableCapability{"SETFCAP", "MKNOD", "FSETID"},
				VolumeSELinuxOptions: &v1alpha1.VolumeSELinuxOptions{Type: "team_files_t", Level: "s0:c1,c2"},
			},
		},
		Volumes: v1alpha1.Volumes{Access: v1alpha1.AccessReadOnly, PullPolicy: corev1.PullAlways, MaxParallelPulls: 9, MaxImageSize: ptr.To(resource.MustParse("20Gi")),
			DefaultSizeLimit: ptr.To(resource.MustParse("1Gi")), MaxSizeLimit: ptr.To(resource.MustParse("10Gi")),
			SizeLimitFallback: v1alpha1.FallbackMemory,
			OtherPlatforms:    v1alpha1.OtherPlatformsMount,
			MaxVolumesPerNode: ptr.To(int32(500))},
		Credentials: v1alpha1.Credentials{
			Secrets: []v1alpha1.SecretName{{Name: "registry-b"}, {Name: "registry-a"}},
			Providers: &v1alpha1.CredentialProviders{
				ConfigPath: "/etc/kubernetes/credential-providers.yaml", BinDir: "/opt/credential-providers",
				TokenAudiences: []v1alpha1.TokenAudience{"registry.example.com"},
			},
			Verification: v1alpha1.AlwaysVerify,
		},
		NestedSandboxes: &v1alpha1.NestedSandboxes{},
		Rollout:         v1alpha1.Rollout{MaxUnavailable: ptr.To(intstr.FromInt32(3))},
	}
	return driver
}

func class(t *testing.T, name string, custom ...v1alpha1.NodeClass) nodeclass.Class {
	t.Helper()
	found, ok := nodeclass.NewTable(custom).Lookup(name)
	if !ok {
		t.Fatalf("no class %q", name)
	}
	return found
}

// Whole manifests are for what differs by its kind: the two ways to mount, an own operating system, and what a driver may ask for.
// Classes that differ in little are in differences.txt.
func TestRenderedObjects(t *testing.T) {
	for name, input := range map[string]Input{
		"no-nodes":             {Driver: minimal()},
		nodeclass.Containerd:   {Driver: minimal(), Classes: []nodeclass.Class{class(t, nodeclass.Containerd)}},
		nodeclass.CRIO:         {Driver: minimal(), Classes: []nodeclass.Class{class(t, nodeclass.CRIO)}},
		nodeclass.Bottlerocket: {Driver: minimal(), Classes: []nodeclass.Class{class(t, nodeclass.Bottlerocket)}},
		"full":                 {Driver: full(), Classes: []nodeclass.Class{class(t, nodeclass.CRIO), class(t, nodeclass.Containerd)}},
		"optional":             {Driver: minimal(), Kinds: OptionalKinds(), Classes: []nodeclass.Class{class(t, nodeclass.OpenShift)}},
		"seccomp": {Driver: narrow(), Kinds: []OptionalKind{SeccompProfile()}, Existing: []Object{installed("Installed")},
			Classes: []nodeclass.Class{class(t, nodeclass.Containerd)}},
	} {
		t.Run(name, func(t *testing.T) {
			input.Names, input.Settings = Names(input.Driver), settings
			compareGolden(t, name, Render(input).Apply)
		})
	}
}

func compareGolden(t *testing.T, name string, objects []Object) {
	t.Helper()
	var got bytes.Buffer
	for _, object := range objects {
		fields, err := Fields(object)
		if err != nil {
			t.Fatal(err)
		}
		text, err := yaml.Marshal(fields.Object)
		if err != nil {
			t.Fatal(err)
		}
		got.WriteString("---\n")
		got.Write(text)
	}
	compareFile(t, name+".yaml", got.Bytes())
}

// compareFile compares a text with a file of testdata/golden, which -update writes.
func compareFile(t *testing.T, name string, got []byte) {
	t.Helper()
	file := filepath.Join("testdata", "golden", name)
	if *update {
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatalf("%v; go test ./internal/operator/render -update writes the golden files", err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s differs (-want +got); -update accepts it:\n%s", file, diff)
	}
}
