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
)

// valuesOf compiles a variable of a policy, and those before it, for evaluation. A policy's later ones may call functions of
// Kubernetes' own.
func valuesOf(t *testing.T, file, name, last string) func(in map[string]any) map[string]any {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(policies, file))
	if err != nil {
		t.Fatal(err)
	}
	compile := compiler(t, file)
	var compiled []variable
	for document := range strings.SplitSeq(string(text), "\n---\n") {
		var object admissionv1.ValidatingAdmissionPolicy
		if err := yaml.Unmarshal([]byte(document), &object); err != nil {
			t.Fatal(err)
		}
		if object.Name != name || object.Kind != "ValidatingAdmissionPolicy" {
			continue
		}
		at := slices.IndexFunc(object.Spec.Variables, func(v admissionv1.Variable) bool { return v.Name == last })
		for _, v := range object.Spec.Variables[:at+1] {
			compiled = append(compiled, variable{v.Name, compile(v.Expression)})
		}
	}
	if len(compiled) == 0 {
		t.Fatalf("%s has no policy %s with variable %s", file, name, last)
	}
	return func(in map[string]any) map[string]any {
		out := map[string]any{}
		in["variables"] = out
		for _, v := range compiled {
			value, _, err := v.program.Eval(in)
			if err != nil {
				t.Fatalf("%s, variable %s: %v", name, v.name, err)
			}
			out[v.name] = value
		}
		return out
	}
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
	values := valuesOf(t, "operator_daemonsets.yaml", "image-csi-operator-node-plugins", "directories")
	drivers := []v1alpha1.ImageCSIDriver{plain, custom}
	for _, mode := range []v1alpha1.MountMode{contract.ModeNsenter, contract.ModeBidirectional} {
		other := plain
		other.Spec.NodeClasses = []v1alpha1.NodeClass{
			{Name: "pool", MountMode: mode, RuntimeEndpoint: "unix:///run/crio/crio.sock", Match: &v1alpha1.NodeMatch{Runtime: contract.RuntimeCRIO}},
		}
		for _, name := range nodeclass.Names() {
			other.Spec.NodeClasses = append(other.Spec.NodeClasses, v1alpha1.NodeClass{Name: name, MountMode: mode})
		}
		drivers = append(drivers, other)
	}
	for _, driver := range drivers {
		names := nodeclass.Names()
		for _, class := range driver.Spec.NodeClasses {
			if !slices.Contains(names, class.Name) {
				names = append(names, class.Name)
			}
		}
		for _, name := range names {
			class, _ := nodeclass.NewTable(driver.Spec.NodeClasses).Lookup(name)
			plugin := daemonSet(t, &driver, class, "image-csi-system", "example.com/x")
			got := values(map[string]any{"object": fields(t, plugin), "oldObject": nil, "params": fields(t, driver)})
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
	got := valuesOf(t, "operator_daemonsets.yaml", "image-csi-operator-daemonsets", "capabilities")(map[string]any{"object": fields(t, plugin), "oldObject": nil})
	var want []string
	for _, capability := range plugin.Spec.Template.Spec.Containers[0].SecurityContext.Capabilities.Add {
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
