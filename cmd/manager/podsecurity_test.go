package main

import (
	"os"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/image-csi/image-csi-operator/api/v1alpha1"
	"github.com/image-csi/image-csi-operator/internal/operator/nodeclass"
	"github.com/image-csi/image-csi-operator/internal/operator/render"
)

// podSecurity creates the pods of an installation, as dry runs, where they run: the API server judges them by the levels of the two
// namespaces.
func podSecurity(t *testing.T, cluster client.Client) {
	g := NewWithT(t)
	admits := func(namespace string, spec corev1.PodSpec) error {
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "tried"}, Spec: spec}
		return cluster.Create(t.Context(), pod, client.DryRunAll)
	}
	for name, level := range map[string]string{operatorNamespace: "restricted", namespace: "privileged"} {
		var found corev1.Namespace
		g.Expect(cluster.Get(t.Context(), client.ObjectKey{Name: name}, &found)).To(Succeed())
		for _, mode := range []string{"enforce", "audit", "warn"} {
			g.Expect(found.Labels).To(HaveKeyWithValue("pod-security.kubernetes.io/"+mode, level))
			g.Expect(found.Labels).To(HaveKeyWithValue("pod-security.kubernetes.io/"+mode+"-version", MatchRegexp(`^v1\.[0-9]+$`)))
		}
	}

	var deployment appsv1.Deployment
	g.Expect(cluster.Get(t.Context(), client.ObjectKey{Namespace: operatorNamespace, Name: "image-csi-operator"}, &deployment)).To(Succeed())
	manager := deployment.Spec.Template.Spec
	g.Expect(admits(operatorNamespace, manager)).To(Succeed())
	loose := manager.DeepCopy()
	loose.Containers[0].SecurityContext = nil
	g.Expect(admits(operatorNamespace, *loose)).To(MatchError(ContainSubstring(`violates PodSecurity "restricted:v1.`)),
		"the namespace takes everything, so the test shows nothing")

	baseline := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "baseline", Labels: map[string]string{"pod-security.kubernetes.io/enforce": "baseline"}}}
	g.Expect(cluster.Create(t.Context(), baseline)).To(Succeed())
	for class, plugin := range nodePlugins(t) {
		g.Expect(admits(namespace, plugin)).To(Succeed(), class)
		g.Expect(admits(operatorNamespace, plugin)).To(MatchError(ContainSubstring(`violates PodSecurity "restricted:v1.`)), class)
		g.Expect(admits("baseline", plugin)).To(MatchError(ContainSubstring(`violates PodSecurity "baseline:latest"`)), class+": a lower level would do")
	}
}

// nodePlugins are the pods of a node plugin of each class, of a driver that uses every field of its spec.
func nodePlugins(t *testing.T) map[string]corev1.PodSpec {
	t.Helper()
	text, err := os.ReadFile("../../config/samples/storage_v1alpha1_imagecsidriver_full.yaml")
	if err != nil {
		t.Fatal(err)
	}
	driver := &v1alpha1.ImageCSIDriver{}
	if err := yaml.UnmarshalStrict(text, driver); err != nil {
		t.Fatal(err)
	}
	table := nodeclass.NewTable(driver.Spec.NodeClasses)
	out := map[string]corev1.PodSpec{}
	for _, name := range nodeclass.Names() {
		class, _ := table.Lookup(name)
		output := render.Render(render.Input{Driver: driver, Names: render.Names(driver), Classes: []nodeclass.Class{class},
			Settings: render.Settings{Namespace: namespace, OperatorNamespace: operatorNamespace, NodePluginImage: "example.com/plugin:v1"}})
		for _, object := range output.Apply {
			if daemonSet, is := object.(*appsv1.DaemonSet); is && strings.HasSuffix(daemonSet.Name, "-"+name) {
				out[name] = daemonSet.Spec.Template.Spec
			}
		}
	}
	if len(out) != len(nodeclass.Names()) {
		t.Fatalf("rendered %d node plugins of %d classes", len(out), len(nodeclass.Names()))
	}
	return out
}
