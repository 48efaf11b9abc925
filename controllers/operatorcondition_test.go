package controllers_test

import (
	"context"
	"sync/atomic"
	"testing"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/image-csi/image-csi-operator/api/v1alpha1"
)

const release = "image-csi-operator.v0.1.0"

func operatorConditionOf(name string) *unstructured.Unstructured {
	object := &unstructured.Unstructured{}
	object.SetGroupVersionKind(schema.GroupVersionKind{Group: "operators.coreos.com", Version: "v2", Kind: "OperatorCondition"})
	object.SetNamespace(operatorNamespace)
	object.SetName(name)
	return object
}

// olm plays OLM: it has its kind, and grants the operator get, update and patch of the one object that it made for it.
func (c *cluster) olm() {
	c.Helper()
	meta := metav1.ObjectMeta{Namespace: operatorNamespace, Name: release}
	role := &rbacv1.Role{ObjectMeta: meta, Rules: []rbacv1.PolicyRule{{APIGroups: []string{"operators.coreos.com"},
		Resources: []string{"operatorconditions"}, ResourceNames: []string{release}, Verbs: []string{"get", "update", "patch"}}}}
	binding := &rbacv1.RoleBinding{ObjectMeta: meta, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: release},
		Subjects: []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Name: "image-csi-operator", Namespace: operatorNamespace}}}
	definition := &unstructured.Unstructured{}
	definition.SetGroupVersionKind(schema.GroupVersionKind{Group: "apiextensions.k8s.io", Version: "v1", Kind: "CustomResourceDefinition"})
	definition.SetName("operatorconditions.operators.coreos.com")
	c.Cleanup(func() {
		for _, object := range []client.Object{role, binding, definition} {
			c.Eventually(func() bool { return apierrors.IsNotFound(c.Delete(context.Background(), object)) }, soon).Should(BeTrue())
		}
	})
	c.Expect(createAll(c, "testdata/operator_conditions.yaml")).To(Succeed())
	c.Expect(c.Create(c.ctx, role)).To(Succeed())
	c.Expect(c.Create(c.ctx, binding)).To(Succeed())
	object := operatorConditionOf(release)
	c.Expect(unstructured.SetNestedField(object.Object, []any{map[string]any{"type": "Other", "status": "False", "reason": "Theirs", "message": "m"}}, "spec", "conditions")).To(Succeed())
	c.Expect(unstructured.SetNestedField(object.Object, []any{map[string]any{"type": "Upgradeable"}}, "spec", "overrides")).To(Succeed())
	c.Eventually(func() error { return c.Create(c.ctx, object) }, soon).Should(Succeed(), "once the kind is served")
}

// told returns what OLM is told, as "status reason" by the condition's type.
func (c *cluster) told() map[string]string {
	object, out := operatorConditionOf(release), map[string]string{}
	c.Expect(c.Get(c.ctx, client.ObjectKeyFromObject(object), object)).To(Succeed())
	conditions, _, err := unstructured.NestedSlice(object.Object, "spec", "conditions")
	c.Expect(err).NotTo(HaveOccurred())
	for _, condition := range conditions {
		fields := condition.(map[string]any)
		out[fields["type"].(string)] = fields["status"].(string) + " " + fields["reason"].(string)
	}
	overrides, _, err := unstructured.NestedSlice(object.Object, "spec", "overrides")
	c.Expect(err).NotTo(HaveOccurred())
	c.Expect(overrides).To(HaveLen(1), "the administrator's")
	return out
}

// patchesOfConditions counts what the operator sends to change an OperatorCondition.
func (c *cluster) patchesOfConditions() func() int64 {
	before := c.beforePatch
	var count atomic.Int64
	c.beforePatch = func(object client.Object) {
		if object.GetObjectKind().GroupVersionKind().Kind == "OperatorCondition" {
			count.Add(1)
		}
		if before != nil {
			before(object)
		}
	}
	return count.Load
}

func TestOLMIsToldWhetherTheOperatorMayBeUpgraded(t *testing.T) {
	c := newCluster(t)
	c.olm()
	c.operatorCondition = release
	patches := c.patchesOfConditions()
	c.start()
	upgradeable := func(want string) {
		t.Helper()
		c.Eventually(c.told, soon).Should(Equal(map[string]string{"Other": "False Theirs", "Upgradeable": want}))
	}
	upgradeable("True AsExpected") // without any driver

	c.node("one", "containerd://2.1.4")
	c.driver(driverName, impatient)
	upgradeable("False RollingOut")
	c.fleet()
	c.register("one", driverName)
	upgradeable("True AsExpected")

	pod := c.user("web", "one", driverName)
	c.runtime("one", "cri-o://1.36.3")
	upgradeable("False WaitingForVolumes")
	c.endPod(pod)
	c.touch("one")
	upgradeable("True AsExpected")
	c.settle()
	sent := patches()
	for range 3 {
		c.touch("one")
		c.settle()
	}
	c.Expect(patches()).To(Equal(sent), "nothing has changed")

	c.user("db", "one", driverName)
	c.deleteDriver(driverName)
	upgradeable("False WaitingForVolumes")
	c.changeDriver(driverName, ignoreVolumes)
	c.Eventually(c.exists(&v1alpha1.ImageCSIDriver{ObjectMeta: metav1.ObjectMeta{Name: driverName}}), soon).Should(BeFalse())
	upgradeable("True AsExpected")
}

func TestWhatAnOperatorToldThatHasEndedIsCorrectedAtTheStart(t *testing.T) {
	c := newCluster(t)
	c.olm()
	object := operatorConditionOf(release)
	c.change(object, func() {
		c.Expect(unstructured.SetNestedField(object.Object, []any{map[string]any{"type": "Upgradeable", "status": "False", "reason": "RollingOut", "message": "m"}},
			"spec", "conditions")).To(Succeed())
	})
	c.operatorCondition = release
	patches := c.patchesOfConditions()
	stop := c.operate()
	c.Eventually(c.told, soon).Should(Equal(map[string]string{"Upgradeable": "True AsExpected"}))
	stop()
	c.start()
	c.Consistently(patches, quiet).Should(BeEquivalentTo(1), "the second operator finds it right")
}

// reconcileErrors counts the reconciles of OperatorConditions that have failed, in all tests until now.
func (c *cluster) reconcileErrors() float64 {
	c.Helper()
	families, err := metrics.Registry.Gather()
	c.Expect(err).NotTo(HaveOccurred())
	for _, family := range families {
		if family.GetName() != "controller_runtime_reconcile_errors_total" {
			continue
		}
		for _, metric := range family.GetMetric() {
			if metric.GetLabel()[0].GetValue() == "operatorcondition" {
				return metric.GetCounter().GetValue()
			}
		}
	}
	return 0
}

func TestWithoutOLMNobodyIsTold(t *testing.T) {
	for name, setUp := range map[string]func(*cluster){
		"no kind of that name": func(c *cluster) { c.operatorCondition = release },
		"no such object": func(c *cluster) {
			c.olm()
			c.Expect(c.Delete(c.ctx, operatorConditionOf(release))).To(Succeed())
			c.operatorCondition = release
		},
		"no name in the environment": func(c *cluster) { c.olm() },
	} {
		t.Run(name, func(t *testing.T) {
			c := newCluster(t)
			patches := c.patchesOfConditions()
			setUp(c)
			errors := c.reconcileErrors()
			c.start()
			c.node("one", "containerd://2.1.4")
			c.driver(driverName)
			c.Eventually(c.exists(c.daemonSet("containerd")), soon).Should(BeTrue())
			c.settle()
			c.Expect(patches()).To(BeZero())
			c.Expect(c.reconcileErrors()).To(Equal(errors), "it is no error either")
			c.Expect(c.condition(driverName, "Degraded")()).To(Equal("False AsExpected"))
			c.Expect(c.Delete(c.ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "one"}})).To(Succeed())
		})
	}
}
