package hardening

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/yaml"

	"github.com/image-csi/image-csi-operator/api/v1alpha1"
	"github.com/image-csi/image-csi-operator/internal/contract"
	"github.com/image-csi/image-csi-operator/internal/operator/nodeclass"
	"github.com/image-csi/image-csi-operator/internal/operator/render"
)

const root = "../.."

// drivers are those whose objects are looked at: one that asks for nothing, one that may do least, and one with all that a driver may
// add to a pod.
func drivers() map[string]v1alpha1.ImageCSIDriverSpec {
	return map[string]v1alpha1.ImageCSIDriverSpec{
		"minimal":  {},
		"readonly": {Volumes: v1alpha1.Volumes{Access: v1alpha1.AccessReadOnly}},
		"full": {
			Aliases: []v1alpha1.DriverName{contract.LegacyEarlierDriverName},
			NodePlugin: v1alpha1.NodePlugin{
				Resources: &v1alpha1.Resources{
					Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("10m"), corev1.ResourceMemory: resource.MustParse("64Mi")},
					Limits:   corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("256Mi")},
				},
				CompatibilityMetrics: v1alpha1.CompatibilityMetricsEnabled,
			},
			Credentials: v1alpha1.Credentials{
				Secrets:   []v1alpha1.SecretName{{Name: "registry"}},
				Providers: &v1alpha1.CredentialProviders{ConfigPath: "/etc/kubernetes/credential-providers.yaml", BinDir: "/opt/credential-providers"},
			},
		},
	}
}

// rendered returns the operator's objects for a driver, on nodes of a class.
func rendered(t *testing.T, spec v1alpha1.ImageCSIDriverSpec, class string, mode v1alpha1.MountMode) []*unstructured.Unstructured {
	t.Helper()
	driver := &v1alpha1.ImageCSIDriver{ObjectMeta: metav1.ObjectMeta{Name: contract.DefaultDriverName}, Spec: spec}
	found, is := nodeclass.NewTable([]v1alpha1.NodeClass{{Name: class, MountMode: mode}}).Lookup(class)
	if !is {
		t.Fatalf("no class %q", class)
	}
	var out []*unstructured.Unstructured
	for _, object := range render.Render(render.Input{
		Driver: driver, Names: render.Names(driver), Classes: []nodeclass.Class{found},
		Settings: render.Settings{Namespace: "image-csi-system", NodePluginImage: "example.com/node-plugin:v1"},
	}).Apply {
		fields, err := render.Fields(object)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, fields)
	}
	return out
}

// nodePlugins returns the objects of every class of nodes, in each mount mode, for each of the drivers. Their name is CLASS/MODE/DRIVER.
func nodePlugins(t *testing.T) map[string][]*unstructured.Unstructured {
	t.Helper()
	out := map[string][]*unstructured.Unstructured{}
	for _, class := range nodeclass.Names() {
		for _, mode := range []v1alpha1.MountMode{contract.ModeNsenter, contract.ModeBidirectional} {
			for name, spec := range drivers() {
				out[path.Join(class, string(mode), name)] = rendered(t, spec, class, mode)
			}
		}
	}
	return out
}

// manifests returns what kustomize builds of directories of config.
func manifests(t *testing.T, names ...string) []*unstructured.Unstructured {
	t.Helper()
	var out []*unstructured.Unstructured
	for _, name := range names {
		built, err := exec.CommandContext(t.Context(), kubectl(t), "kustomize", filepath.Join(root, "config", name)).Output()
		if err != nil {
			t.Fatalf("kubectl kustomize config/%s: %v", name, err)
		}
		out = append(out, read(t, built)...)
	}
	return out
}

// kubectl is the program that comes with the API server.
func kubectl(t *testing.T) string {
	t.Helper()
	program := filepath.Join(os.Getenv("KUBEBUILDER_ASSETS"), "kubectl")
	if _, err := os.Stat(program); err != nil {
		if os.Getenv("CI") == "" {
			t.Skip("NOT LOOKED AT, because KUBEBUILDER_ASSETS does not name a directory with kubectl: ", err)
		}
		t.Fatal(err)
	}
	return program
}

// bundled returns the manager's Deployment as the Operator Lifecycle Manager makes it of the bundle.
func bundled(t *testing.T) *unstructured.Unstructured {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, "bundle/manifests/image-csi-operator.clusterserviceversion.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	deployments, _, err := unstructured.NestedSlice(read(t, text)[0].Object, "spec", "install", "spec", "deployments")
	if err != nil || len(deployments) != 1 {
		t.Fatalf("%d deployments in the bundle: %v", len(deployments), err)
	}
	deployment := deployments[0].(map[string]any)
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "apps/v1", "kind": "Deployment", "spec": deployment["spec"],
		"metadata": map[string]any{"name": deployment["name"], "namespace": "image-csi-system", "labels": deployment["label"]},
	}}
}

func read(t *testing.T, text []byte) []*unstructured.Unstructured {
	t.Helper()
	var out []*unstructured.Unstructured
	for decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(text), 4096); ; {
		object := &unstructured.Unstructured{}
		if err := decoder.Decode(object); errors.Is(err, io.EOF) {
			return out
		} else if err != nil {
			t.Fatal(err)
		}
		if len(object.Object) > 0 {
			out = append(out, object)
		}
	}
}

// podsOf returns the pods that objects make.
func podsOf(t *testing.T, objects ...*unstructured.Unstructured) []corev1.PodTemplateSpec {
	t.Helper()
	var out []corev1.PodTemplateSpec
	for _, object := range objects {
		fields, found, err := unstructured.NestedMap(object.Object, "spec", "template")
		if err != nil {
			t.Fatal(err)
		}
		if !found {
			continue
		}
		var template corev1.PodTemplateSpec
		if err := runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(fields, &template, true); err != nil {
			t.Fatal(err)
		}
		out = append(out, template)
	}
	return out
}
