package controllers_test

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/image-csi/image-csi-operator/api/v1alpha1"
	"github.com/image-csi/image-csi-operator/internal/operator/render"
)

// installKinds plays an administrator who installs the Prometheus operator, on OpenShift.
func (c *cluster) installKinds() {
	c.Helper()
	c.Cleanup(c.uninstallKinds)
	c.Expect(createAll(c, "testdata/optional_kinds.yaml")).To(Succeed())
}

func (c *cluster) uninstallKinds() {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	for _, kind := range render.OptionalKinds() {
		definition := &unstructured.Unstructured{}
		definition.SetGroupVersionKind(schema.GroupVersionKind{Group: "apiextensions.k8s.io", Version: "v1", Kind: "CustomResourceDefinition"})
		definition.SetName(kind.Definition())
		c.Eventually(func() bool {
			return apierrors.IsNotFound(c.Delete(ctx, definition))
		}, soon).WithContext(ctx).Should(BeTrue(), kind.Definition())
	}
}

// optionalObjects are the driver's objects of the optional kinds, as they are to be looked up.
func optionalObjects() map[string]*unstructured.Unstructured {
	out := map[string]*unstructured.Unstructured{}
	for kind, name := range map[render.OptionalKind]string{
		render.PodMonitor(): driverName + "-node-plugin", render.PrometheusRule(): driverName + "-alerts",
		render.SecurityContextConstraints(): driverName + "-node-plugin",
	} {
		object := &unstructured.Unstructured{}
		object.SetGroupVersionKind(kind.GroupVersionKind)
		object.SetName(name)
		if kind != render.SecurityContextConstraints() {
			object.SetNamespace(namespace)
		}
		out[kind.Kind] = object
	}
	return out
}

func (c *cluster) allOptional(exist bool) {
	c.Helper()
	for kind, object := range optionalObjects() {
		c.Eventually(c.exists(object), soon).Should(Equal(exist), kind)
	}
}

func TestKindsThatAreInstalledLaterGetTheirObjects(t *testing.T) {
	c := newCluster(t).start()
	c.node("one", "cri-o://1.36.3")
	c.driver(driverName)
	c.Eventually(c.exists(c.daemonSet("crio")), soon).Should(BeTrue())
	c.Eventually(c.condition(driverName, "Degraded"), soon).Should(Equal("False AsExpected"), "without the kinds")

	c.installKinds()
	c.allOptional(true)
	c.settle()
	writes := c.writes.Load()
	c.touch("one")
	c.Consistently(c.writes.Load, quiet).Should(Equal(writes), "nothing changed")

	c.uninstallKinds()
	c.settle()
	c.Expect(c.condition(driverName, "Degraded")()).To(Equal("False AsExpected"), "after the kinds went")
	c.installKinds()
	c.allOptional(true)

	c.changeDriver(driverName, state(v1alpha1.Removed))
	c.allOptional(false)
}

func TestObjectsOfOptionalKindsAreRepaired(t *testing.T) {
	c := newCluster(t).start()
	c.installKinds()
	c.node("one", "cri-o://1.36.3")
	c.driver(driverName)
	c.allOptional(true)
	edits := map[string][]string{
		"PodMonitor":                 {"spec", "selector", "matchLabels", "evil"},
		"PrometheusRule":             {"metadata", "labels", "app.kubernetes.io/name"},
		"SecurityContextConstraints": {"runAsUser", "type"},
	}
	for kind, object := range optionalObjects() {
		t.Run(kind, func(t *testing.T) {
			g := NewWithT(t)
			g.Expect(c.exists(object)()).To(BeTrue())
			want := object.DeepCopy()
			c.change(object, func() {
				g.Expect(unstructured.SetNestedField(object.Object, "evil", edits[kind]...)).To(Succeed())
				object.SetAnnotations(map[string]string{"example.com/note": "kept"})
				if kind == "PrometheusRule" {
					emptied := []any{map[string]any{"name": "image-csi-operator/" + driverName, "rules": []any{}}}
					g.Expect(unstructured.SetNestedSlice(object.Object, emptied, "spec", "groups")).To(Succeed())
				}
			})
			g.Eventually(func(g Gomega) {
				g.Expect(c.exists(object)()).To(BeTrue())
				if kind == "PodMonitor" { // A field of the editor's own, which stays.
					unstructured.RemoveNestedField(object.Object, edits[kind]...)
				}
				g.Expect(content(object)).To(Equal(content(want)))
			}, soon).Should(Succeed())
			g.Expect(object.GetAnnotations()).To(HaveKeyWithValue("example.com/note", "kept"))

			g.Expect(c.Delete(c.ctx, object)).To(Succeed())
			g.Eventually(func() bool { return c.exists(object)() && object.GetUID() != want.GetUID() }, soon).Should(BeTrue())
		})
	}
}

// content is an object but for what the server says about it, with its labels.
func content(object *unstructured.Unstructured) map[string]any {
	out := object.DeepCopy().Object
	out["metadata"] = object.GetLabels()
	return out
}

// An operator that begins when a driver is being removed must not let it go before it has seen all that belongs to it.
func TestAnOperatorThatStartsRemovesObjectsOfOptionalKindsToo(t *testing.T) {
	c := newCluster(t)
	stop := c.operate()
	c.installKinds()
	c.node("one", "cri-o://1.36.3")
	c.driver(driverName)
	c.allOptional(true)
	stop()
	c.deleteDriver(driverName)
	daemonSet := c.daemonSet("crio")
	c.Expect(c.Delete(c.ctx, daemonSet, client.PropagationPolicy("Background"))).To(Succeed())
	c.start()
	c.Eventually(c.exists(&v1alpha1.ImageCSIDriver{ObjectMeta: csiDriver(driverName).ObjectMeta}), soon).Should(BeFalse())
	c.allOptional(false)
}

// It waits, because there may be objects of the driver that nothing would delete later. It takes some seconds.
func TestARemovalWaitsForAKindThatCannotBeListedAndNamesIt(t *testing.T) {
	c := newCluster(t)
	c.installKinds()
	c.faults.set(only(func(r *http.Request) bool { return strings.HasSuffix(r.URL.Path, "/podmonitors") },
		always(http.StatusForbidden, metav1.StatusReasonForbidden, "")))
	c.start()
	c.node("one", "cri-o://1.36.3")
	c.driver(driverName)
	c.Eventually(c.exists(c.daemonSet("crio")), soon).Should(BeTrue())
	c.changeDriver(driverName, state(v1alpha1.Removed))
	c.Eventually(func() string {
		if progressing := meta.FindStatusCondition(c.statusOf(driverName).Conditions, v1alpha1.ConditionProgressing); progressing != nil {
			return progressing.Message
		}
		return ""
	}, soon).Should(And(ContainSubstring("podmonitors.monitoring.coreos.com"), Not(ContainSubstring("prometheusrules"))))
	c.Expect(c.condition(driverName, "Progressing")()).To(Equal("True StoppingPlugins"))
	c.Expect(c.exists(csiDriver(driverName))()).To(BeTrue())
	c.faults.set(nil)
	c.Eventually(c.condition(driverName, "Progressing"), 6*soon).Should(Equal("False Removed"), "within the two backoffs: the list's and the operator's")
}

func TestAGroupThatSomebodyAddsToTheAlertsStaysAndCostsNoWrites(t *testing.T) {
	c := newCluster(t).start()
	c.installKinds()
	c.node("one", "cri-o://1.36.3")
	c.driver(driverName)
	c.allOptional(true)
	c.settle()
	rule := optionalObjects()["PrometheusRule"]
	groups := func() []any {
		c.Expect(c.exists(rule)()).To(BeTrue())
		groups, _, err := unstructured.NestedSlice(rule.Object, "spec", "groups")
		c.Expect(err).NotTo(HaveOccurred())
		return groups
	}
	want := append([]any{map[string]any{"name": "theirs", "rules": []any{}}}, groups()...)
	writes := c.writes.Load()
	c.change(rule, func() {
		c.Expect(unstructured.SetNestedSlice(rule.Object, want, "spec", "groups")).To(Succeed())
	})
	c.touch("one")
	c.settle()
	c.Expect(c.writes.Load()).To(Equal(writes))
	c.Expect(groups()).To(Equal(want))

	c.change(rule, func() {
		c.Expect(unstructured.SetNestedSlice(rule.Object, want[:1], "spec", "groups")).To(Succeed())
	})
	c.Eventually(groups, soon).Should(ConsistOf(want...), "ours comes back")
}

// define plays an administrator who installs a release that serves a kind in some versions, or goes over to one.
func (c *cluster) define(kind render.OptionalKind, versions ...string) {
	c.Helper()
	c.Cleanup(c.uninstallKinds)
	served := []any{}
	for i, version := range versions {
		served = append(served, map[string]any{
			"name": version, "served": true, "storage": i == 0,
			"schema": map[string]any{"openAPIV3Schema": map[string]any{"type": "object", "x-kubernetes-preserve-unknown-fields": true}},
		})
	}
	definition := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
		"metadata": map[string]any{
			"name":        kind.Definition(),
			"annotations": map[string]any{"api-approved.kubernetes.io": "https://example.com"},
		},
		"spec": map[string]any{
			"group": kind.Group, "scope": "Cluster", "versions": served,
			"names": map[string]any{"kind": kind.Kind, "plural": kind.Resource},
		},
	}}
	c.Expect(c.Apply(c.ctx, client.ApplyConfigurationFromUnstructured(definition), client.FieldOwner("administrator"), client.ForceOwnership)).To(Succeed())
}

func TestAKindThatIsServedInOtherVersionsOnlyCountsAsAbsent(t *testing.T) {
	c := newCluster(t)
	c.define(render.SeccompProfile(), "v1beta1")
	c.start()
	c.node("one", "containerd://2.1.4")
	c.driver(driverName, seccompOf(v1alpha1.SeccompNarrow))
	c.Eventually(c.condition(driverName, "Degraded"), 3*soon).Should(Equal("True SeccompProfileNotInEffect"))

	c.changeDriver(driverName, state(v1alpha1.Removed))
	c.Eventually(c.condition(driverName, "Progressing"), soon).Should(Equal("False Removed"))
	c.Expect(c.exists(csiDriver(driverName))()).To(BeFalse())

	c.changeDriver(driverName, state(v1alpha1.Managed))
	c.Eventually(c.condition(driverName, "Degraded"), soon).Should(Equal("True SeccompProfileNotInEffect"))
	c.define(render.SeccompProfile(), "v1beta1", "v1")
	c.Eventually(c.profileCount(), soon).Should(Equal(1))
	c.Eventually(c.condition(driverName, "Degraded"), soon).Should(Equal("False AsExpected"))
}
