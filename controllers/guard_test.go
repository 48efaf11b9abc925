package controllers_test

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/image-csi/image-csi-operator/api/v1alpha1"
	"github.com/image-csi/image-csi-operator/internal/operator/render"
)

// installation is what "kubectl delete -k config/default" deletes, but for the policies.
func installation() []client.Object {
	const name = "image-csi-operator"
	own, anywhere := metav1.ObjectMeta{Namespace: operatorNamespace, Name: name}, metav1.ObjectMeta{Name: name}
	plugins := metav1.ObjectMeta{Namespace: namespace, Name: name}
	definition := &unstructured.Unstructured{}
	definition.SetGroupVersionKind(apiextensionsv1.SchemeGroupVersion.WithKind("CustomResourceDefinition"))
	definition.SetName("imagecsidrivers.storage.imagecsi.dev")
	return []client.Object{
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}, definition,
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: operatorNamespace}},
		&corev1.ServiceAccount{ObjectMeta: own}, &appsv1.Deployment{ObjectMeta: own},
		&rbacv1.Role{ObjectMeta: plugins}, &rbacv1.RoleBinding{ObjectMeta: plugins},
		&rbacv1.ClusterRole{ObjectMeta: anywhere}, &rbacv1.ClusterRoleBinding{ObjectMeta: anywhere},
	}
}

// deployment makes one like the operator's, until the test ends.
func (c *cluster) deployment(namespace, name string, labels map[string]string) *appsv1.Deployment {
	c.Helper()
	selected := map[string]string{"a": "b"}
	out := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: labels}, Spec: appsv1.DeploymentSpec{
		Selector: &metav1.LabelSelector{MatchLabels: selected},
		Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: selected},
			Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "example.com/c"}}}},
	}}
	c.Expect(c.Create(c.ctx, out)).To(Succeed())
	return out
}

// namespace makes one, which stays: nobody empties it.
func (c *cluster) namespace(name string) *corev1.Namespace {
	c.Helper()
	out := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
	c.Expect(client.IgnoreAlreadyExists(c.Create(c.ctx, out.DeepCopy()))).To(Succeed())
	return out
}

func driverNamed(name string) *v1alpha1.ImageCSIDriver {
	return &v1alpha1.ImageCSIDriver{ObjectMeta: metav1.ObjectMeta{Name: name}}
}

// guardParts are the guard's policy and binding, as they are to be looked up.
func guardParts() map[string]client.Object {
	name := metav1.ObjectMeta{Name: render.GuardName}
	return map[string]client.Object{"policy": &admissionv1.ValidatingAdmissionPolicy{ObjectMeta: name}, "binding": &admissionv1.ValidatingAdmissionPolicyBinding{ObjectMeta: name}}
}

// guarded returns which parts of the guard exist.
func (c *cluster) guarded() string {
	var out []string
	for part, object := range guardParts() {
		if c.exists(object)() {
			out = append(out, part)
		}
	}
	slices.Sort(out)
	return strings.Join(out, " and ")
}

const (
	guardWords = "ends when no pod uses their volumes, and then this command again: ImageCSIDriver "
	guardWhole = "binding and policy"
)

func (c *cluster) deletes(who client.Client, object client.Object) func() error {
	return func() error { return who.Delete(c.ctx, object, client.DryRunAll) }
}

func TestTheInstallationIsNotDeletedBeforeItsDrivers(t *testing.T) {
	c := newCluster(t)
	labelled := map[string]string{"app.kubernetes.io/name": "image-csi-operator"}
	own := c.deployment(operatorNamespace, "image-csi-operator", nil)
	byHelm := c.deployment(operatorNamespace, "release-manager", labelled)
	others := []client.Object{
		c.deployment("default", "image-csi-operator", nil),
		c.deployment(namespace, "image-csi-operator", nil), // of an earlier installation, which had one namespace
		c.deployment(operatorNamespace, "somebodys", nil),
		c.deployment(operatorNamespace, "by-olm", map[string]string{"app.kubernetes.io/name": "image-csi-operator", "olm.owner": "image-csi-operator.v0.1.0"}),
		c.deployment(operatorNamespace, "by-olm-v1", map[string]string{"app.kubernetes.io/name": "image-csi-operator", "olm.operatorframework.io/owner-name": "x"}),
	}
	viewer := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "viewer-of-ours", Labels: map[string]string{
		"app.kubernetes.io/name": "image-csi-operator", "rbac.authorization.k8s.io/aggregate-to-view": "true"}}}
	c.Expect(c.Create(c.ctx, viewer)).To(Succeed())
	others = append(others, viewer)
	c.start()
	c.node("one", "containerd://2.1.4")
	c.driver(driverName)
	c.driver("second.example.com")
	for _, object := range append(installation(), byHelm) {
		c.refuses(guardWords, c.deletes(c, object))
	}
	c.refuses(guardWords, func() error {
		return c.DeleteAllOf(c.ctx, &appsv1.Deployment{}, client.InNamespace(operatorNamespace), client.DryRunAll)
	})

	const controllers = "system:serviceaccount:kube-system:"
	for _, user := range []string{controllers + "namespace-controller", controllers + "generic-garbage-collector", "system:kube-controller-manager"} {
		c.grant("deletes-as-"+user[strings.LastIndex(user, ":")+1:], user, rbacv1.PolicyRule{APIGroups: []string{"apps"}, Resources: []string{"deployments"}, Verbs: []string{"delete"}})
		c.Eventually(c.deletes(c.as(user), own), soon).Should(Succeed(), user)
	}
	for _, object := range append(others, c.namespace("elsewhere")) {
		c.Expect(c.deletes(c, object)()).To(Succeed(), "%T %s/%s", object, object.GetNamespace(), object.GetName())
	}

	c.deleteDriver(driverName)
	c.Eventually(c.exists(driverNamed(driverName)), soon).Should(BeFalse())
	c.refuses(guardWords+"second.example.com still exists", c.deletes(c, own))
	c.deleteDriver("second.example.com")
	c.Eventually(c.exists(driverNamed("second.example.com")), soon).Should(BeFalse())
	c.Expect(c.guarded()).To(BeEmpty(), "it goes before the last driver's finalizer")
	for _, object := range installation() {
		c.Eventually(c.deletes(c, object), soon).Should(Succeed())
	}
	for _, object := range append(others, own, byHelm) {
		c.Expect(c.Delete(c.ctx, object)).To(Succeed())
	}
}

// A driver without the operator's finalizer, such as one that is removed by managementState or that no operator has looked at,
// is deleted with its definition and leaves nothing. So a guard that an operator left behind when it died refuses nothing.
func TestTheGuardHoldsOnlyForDriversThatTheOperatorHasToRemove(t *testing.T) {
	c := newCluster(t)
	policy, binding := render.Guard(render.Settings{Namespace: "elsewhere", OperatorNamespace: "elsewhere"})
	c.driver(driverName)
	c.driver("held.example.com")
	hold := func(finalizers string) {
		c.Expect(c.Patch(c.ctx, driverNamed("held.example.com"), mergePatch(`{"metadata": {"finalizers": `+finalizers+`}}`))).To(Succeed())
	}
	hold(`["imagecsi.dev/cleanup"]`)
	for _, object := range []client.Object{policy, binding} {
		c.Expect(c.Create(c.ctx, object)).To(Succeed())
	}
	here := c.deletes(c, c.namespace("elsewhere"))
	c.refuses(guardWords+"held.example.com", here)
	c.Expect(c.deletes(c, installation()[0])()).To(Succeed(), "the namespace of another installation")
	hold(`["example.com/somebodys"]`)
	c.Eventually(here, soon).Should(Succeed())
}

func TestTheGuardIsThereForAsLongAsADriverIsHeld(t *testing.T) {
	c := newCluster(t).start()
	c.node("one", "containerd://2.1.4")
	c.driver(driverName)
	c.Eventually(c.guarded, soon).Should(Equal(guardWhole))
	c.settle()
	writes := c.writes.Load()
	c.touch("one")
	c.Consistently(c.writes.Load, quiet).Should(Equal(writes), "what holds is written again")

	// Unmanaged, the operator changes nothing of the driver, but its finalizer still waits for the operator.
	c.changeDriver(driverName, func(d *v1alpha1.ImageCSIDriver) { d.Spec.ManagementState = v1alpha1.Unmanaged })
	for _, object := range guardParts() {
		c.Expect(c.Delete(c.ctx, object)).To(Succeed())
	}
	c.Eventually(c.guarded, soon).Should(Equal(guardWhole))
	policy := guardParts()["policy"]
	c.Expect(c.Patch(c.ctx, policy, mergePatch(`{"spec": {"matchConditions": null}}`))).To(Succeed())
	c.Eventually(func() int {
		live := &admissionv1.ValidatingAdmissionPolicy{}
		c.Expect(c.Get(c.ctx, client.ObjectKeyFromObject(policy), live)).To(Succeed())
		return len(live.Spec.MatchConditions)
	}, soon).ShouldNot(BeZero(), "what was changed by hand is repaired")

	c.changeDriver(driverName, func(d *v1alpha1.ImageCSIDriver) { d.Spec.ManagementState = v1alpha1.Removed })
	c.Eventually(c.guarded, soon).Should(BeEmpty(), "a driver that is removed has nothing to guard")
	c.changeDriver(driverName, func(d *v1alpha1.ImageCSIDriver) { d.Spec.ManagementState = v1alpha1.Managed })
	c.Eventually(c.guarded, soon).Should(Equal(guardWhole))

	c.deleteDriver(driverName)
	c.Eventually(c.exists(driverNamed(driverName)), soon).Should(BeFalse())
	c.Expect(c.guarded()).To(BeEmpty())
}

func TestTheNextOperatorTakesTheGuardAway(t *testing.T) {
	c := newCluster(t)
	stop := c.operate()
	c.driver(driverName)
	c.Eventually(c.guarded, soon).Should(Equal(guardWhole))
	stop()
	c.deleteDriver(driverName)
	c.start()
	c.Eventually(c.exists(driverNamed(driverName)), soon).Should(BeFalse())
	c.Expect(c.guarded()).To(BeEmpty())
}

// Drivers that come and go at once leave no guard that the cache had not seen yet.
func TestShortLivedDriversLeaveNoGuard(t *testing.T) {
	c := newCluster(t).start()
	for range 5 {
		c.driver(driverName)
		c.Eventually(func() []string {
			driver := driverNamed(driverName)
			_ = c.Get(c.ctx, client.ObjectKeyFromObject(driver), driver)
			return driver.Finalizers
		}, soon).WithPolling(time.Millisecond).ShouldNot(BeEmpty())
		c.deleteDriver(driverName)
		c.Eventually(c.exists(driverNamed(driverName)), soon).WithPolling(time.Millisecond).Should(BeFalse())
		c.Expect(c.guarded()).To(BeEmpty())
	}
	c.Consistently(c.guarded, quiet).Should(BeEmpty())
}

func TestADriverDoesWithoutAGuardThatCannotBeWritten(t *testing.T) {
	for name, fault := range map[string]fault{
		"forbidden": always(http.StatusForbidden, metav1.StatusReasonForbidden, ""),
		"failing":   always(http.StatusInternalServerError, metav1.StatusReasonInternalError, ""),
		"hanging":   hangs,
	} {
		t.Run(name, func(t *testing.T) {
			c := newCluster(t)
			var tries atomic.Int64
			c.faults.set(only(func(r *http.Request) bool {
				is := isWrite(r) && strings.Contains(r.URL.Path, "/"+render.GuardName)
				if is {
					tries.Add(1)
				}
				return is
			}, fault))
			c.start()
			c.node("one", "containerd://2.1.4")
			c.driver(driverName)
			c.Eventually(c.exists(c.daemonSet("containerd")), soon).Should(BeTrue())
			c.Eventually(c.condition(driverName, "Degraded"), soon).Should(Equal("False AsExpected"))
			c.Consistently(c.condition(driverName, "Degraded"), 2*time.Second).Should(Equal("False AsExpected"))
			c.Expect(tries.Load()).To(BeNumerically("<", 6), "it is tried again at speed")
			c.faults.turn(nil)
			c.Eventually(c.guarded, soon).Should(Equal(guardWhole))

			c.faults.turn(only(func(r *http.Request) bool { return isWrite(r) && strings.Contains(r.URL.Path, "/"+render.GuardName) }, fault))
			c.deleteDriver(driverName)
			c.Eventually(c.exists(driverNamed(driverName)), soon).Should(BeFalse())
			c.Expect(c.guarded()).To(Equal(guardWhole), "the test proves nothing")
			c.Eventually(c.deletes(c, installation()[0]), soon).Should(Succeed(), "what is left behind refuses something")
		})
	}
}

func TestAPolicyOfSomebodyElsesIsLeftAlone(t *testing.T) {
	c := newCluster(t)
	theirs, _ := render.Guard(render.Settings{Namespace: "elsewhere", OperatorNamespace: "elsewhere"})
	theirs.Labels = nil
	c.Expect(c.Create(c.ctx, theirs)).To(Succeed())
	c.start()
	c.node("one", "containerd://2.1.4")
	c.driver(driverName)
	c.Eventually(c.exists(c.daemonSet("containerd")), soon).Should(BeTrue())
	c.settle()
	c.deleteDriver(driverName)
	c.Eventually(c.exists(driverNamed(driverName)), soon).Should(BeFalse())
	after := guardParts()["policy"]
	c.Expect(c.exists(after)()).To(BeTrue())
	c.Expect(after.GetGeneration()).To(Equal(theirs.Generation))
	c.Expect(after.GetUID()).To(Equal(theirs.UID))
}

// Another operator, or a program that deletes what it does not know, is not answered at its speed.
func TestTheGuardIsNotFoughtForAtSpeed(t *testing.T) {
	c := newCluster(t).start()
	c.driver(driverName)
	made := map[types.UID]bool{}
	for began := time.Now(); time.Since(began) < 5*time.Second; {
		binding := guardParts()["binding"]
		if c.exists(binding)() {
			made[binding.GetUID()] = true
			c.Expect(client.IgnoreNotFound(c.Delete(c.ctx, binding))).To(Succeed())
		}
	}
	c.Expect(len(made)).To(BeNumerically(">=", 5), "a hand edit has to wait")
	c.Expect(len(made)).To(BeNumerically("<=", 15))
}

// A ClusterServiceVersion takes the operator along, with its rights, also the one whose successor OLM does not install yet. OLM itself
// deletes the one that it has replaced, and the copies that it has put into other namespaces.
func TestOLMsObjectIsNotDeletedBeforeTheDrivers(t *testing.T) {
	c := newCluster(t)
	definition := &unstructured.Unstructured{}
	definition.SetGroupVersionKind(apiextensionsv1.SchemeGroupVersion.WithKind("CustomResourceDefinition"))
	definition.SetName("clusterserviceversions.operators.coreos.com")
	c.Expect(createAll(c, "testdata/cluster_service_versions.yaml")).To(Succeed())
	c.Cleanup(func() { c.Expect(c.Delete(context.Background(), definition)).To(Succeed()) })
	version := func(namespace, name, owned, phase string, labels map[string]string) *unstructured.Unstructured {
		out := &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": "operators.coreos.com/v1alpha1", "kind": "ClusterServiceVersion",
			"spec":   map[string]any{"customresourcedefinitions": map[string]any{"owned": []any{map[string]any{"kind": "Any", "name": owned}}}},
			"status": map[string]any{"phase": phase},
		}}
		out.SetNamespace(namespace)
		out.SetName(name)
		out.SetLabels(labels)
		c.Eventually(func() error { return c.Create(c.ctx, out) }, soon).Should(Succeed(), "once the kind is served")
		return out
	}
	const ours = "imagecsidrivers.storage.imagecsi.dev"
	installed := version(operatorNamespace, release, ours, "Succeeded", nil)
	failed := version(operatorNamespace, "image-csi-operator.v0.1.1", ours, "Failed", nil)
	held := version(operatorNamespace, "image-csi-operator.v0.0.9", ours, "Replacing", nil)
	others := []client.Object{
		version(operatorNamespace, "replaced", ours, "Deleting", nil),
		version(operatorNamespace, "copied", ours, "Succeeded", map[string]string{"olm.copiedFrom": "elsewhere"}),
		version("default", release, ours, "Succeeded", nil),
		version(operatorNamespace, "others", "widgets.example.com", "Succeeded", nil),
	}
	c.start()
	c.node("one", "containerd://2.1.4")
	c.driver(driverName)
	for _, object := range []client.Object{installed, failed, held} {
		c.refuses(guardWords+driverName, c.deletes(c, object))
	}
	for _, object := range others {
		c.Expect(c.deletes(c, object)()).To(Succeed(), object.GetName())
	}
	c.deleteDriver(driverName)
	c.Eventually(c.exists(driverNamed(driverName)), soon).Should(BeFalse())
	c.Eventually(c.deletes(c, installed), soon).Should(Succeed())
}
