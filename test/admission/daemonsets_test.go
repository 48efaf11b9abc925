package admission

import (
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/image-csi/image-csi-operator/api/v1alpha1"
	"github.com/image-csi/image-csi-operator/internal/contract"
	"github.com/image-csi/image-csi-operator/internal/operator/nodeclass"
	"github.com/image-csi/image-csi-operator/internal/operator/render"
	"github.com/image-csi/image-csi-operator/internal/operator/security"
)

// values evaluates some variables of a policy, and those before them. A policy's later ones may call functions of
// Kubernetes' own.
func values(t *testing.T, file, name string, in map[string]any, want ...string) map[string]any {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(policies, file))
	if err != nil {
		t.Fatal(err)
	}
	for _, document := range strings.Split(string(text), "\n---\n") {
		var object admissionv1.ValidatingAdmissionPolicy
		if err := yaml.Unmarshal([]byte(document), &object); err != nil {
			t.Fatal(err)
		}
		if object.Name != name || object.Kind != "ValidatingAdmissionPolicy" {
			continue
		}
		compile, out := compiler(t, file), map[string]any{}
		in["variables"] = out
		for _, v := range object.Spec.Variables {
			value, _, err := compile(v.Expression).Eval(in)
			if err != nil {
				t.Fatalf("%s, variable %s: %v", name, v.Name, err)
			}
			out[v.Name] = value
			if want = slices.DeleteFunc(want, func(name string) bool { return name == v.Name }); len(want) == 0 {
				return out
			}
		}
	}
	t.Fatalf("%s has no policy %s with %v", file, name, want)
	return nil
}

// list returns a variable's texts, sorted.
func list(t *testing.T, value any) []string {
	t.Helper()
	texts, err := value.(interface {
		ConvertToNative(reflect.Type) (any, error)
	}).ConvertToNative(reflect.TypeFor[[]string]())
	if err != nil {
		t.Fatal(err)
	}
	out := texts.([]string)
	slices.Sort(out)
	return slices.Compact(out)
}

func fields(t *testing.T, object any) map[string]any {
	t.Helper()
	text, err := yaml.Marshal(object)
	if err != nil {
		t.Fatal(err)
	}
	var out map[string]any
	if err := yaml.Unmarshal(text, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

// The table of node classes is written twice: in package nodeclass, and in the policy for DaemonSets.
func TestThePolicyForDaemonSetsKnowsTheDirectoriesOfEveryClass(t *testing.T) {
	plain := v1alpha1.ImageCSIDriver{ObjectMeta: metav1.ObjectMeta{Name: driver}}
	custom := plain
	custom.Spec.NodeClasses = []v1alpha1.NodeClass{
		{Name: "containerd", KubeletRoot: "/data/kubelet", MountMode: contract.ModeBidirectional, StorageRoot: "/data/containerd"},
		{Name: "k0s", RuntimeEndpoint: "unix:///run/other/x.sock"},
		{Name: "crio", RunRoot: "/data/run", ImageStore: "/data/images", AdditionalImageStores: []v1alpha1.HostPath{"/mnt/a", "/mnt/b"}},
		{Name: "gpu", MountMode: contract.ModeNsenter, RuntimeEndpoint: "unix:///run/mine/c.sock", Match: &v1alpha1.NodeMatch{Runtime: contract.RuntimeContainerd}},
		{Name: "shared", MountMode: contract.ModeBidirectional, RuntimeEndpoint: "unix:///run/mine/c.sock", Match: &v1alpha1.NodeMatch{Runtime: contract.RuntimeContainerd}},
		{Name: "red", MountMode: contract.ModeBidirectional, RuntimeEndpoint: "unix:///run/red/c.sock", KubeletRoot: "/k", Match: &v1alpha1.NodeMatch{Runtime: contract.RuntimeCRIO}},
	}
	for _, driver := range []v1alpha1.ImageCSIDriver{plain, custom} {
		names := nodeclass.Names()
		for _, class := range driver.Spec.NodeClasses {
			if !slices.Contains(names, class.Name) {
				names = append(names, class.Name)
			}
		}
		for _, name := range names {
			class, _ := nodeclass.NewTable(driver.Spec.NodeClasses).Lookup(name)
			plugin := daemonSet(t, &driver, class, "image-csi-system", "example.com/x")
			got := values(t, "operator_daemonsets.yaml", "image-csi-operator-node-plugins",
				map[string]any{"object": fields(t, plugin), "oldObject": nil, "params": fields(t, driver)}, "mode", "directories")
			var want []string
			for _, volume := range plugin.Spec.Template.Spec.Volumes {
				if volume.HostPath != nil {
					want = append(want, volume.HostPath.Path)
				}
			}
			slices.Sort(want)
			if allowed := list(t, got["directories"]); !slices.Equal(slices.Compact(want), allowed) {
				t.Errorf("class %s: rendered are %q, and allowed %q", name, want, allowed)
			}
			if mode := got["mode"].(interface{ Value() any }).Value(); mode != string(class.MountMode) {
				t.Errorf("class %s has mode %s, and by the policy %v", name, class.MountMode, mode)
			}
		}
	}
}

func TestThePolicyForDaemonSetsKnowsTheCapabilities(t *testing.T) {
	class, _ := nodeclass.NewTable(nil).Lookup(nodeclass.Containerd)
	plugin := daemonSet(t, &v1alpha1.ImageCSIDriver{ObjectMeta: metav1.ObjectMeta{Name: driver}}, class, "image-csi-system", "example.com/x")
	got := values(t, "operator_daemonsets.yaml", "image-csi-operator-daemonsets", map[string]any{"object": fields(t, plugin), "oldObject": nil}, "capabilities")
	var want []string
	for _, capability := range security.Context(class, security.RuntimeDefault()).Capabilities.Add {
		want = append(want, string(capability))
	}
	slices.Sort(want)
	if allowed := list(t, got["capabilities"]); !slices.Equal(want, allowed) {
		t.Errorf("rendered are %q, and allowed %q", want, allowed)
	}
}

// daemonSet renders that of a class.
func daemonSet(t *testing.T, driver *v1alpha1.ImageCSIDriver, class nodeclass.Class, namespace, image string) *appsv1.DaemonSet {
	t.Helper()
	output := render.Render(render.Input{Driver: driver, Names: render.Names(driver), Classes: []nodeclass.Class{class},
		Settings: render.Settings{Namespace: namespace, NodePluginImage: image}})
	for _, object := range output.Apply {
		if out, is := object.(*appsv1.DaemonSet); is {
			return out
		}
	}
	t.Fatal("no DaemonSet of class", class.Name)
	return nil
}
