package controllers_test

import (
	"context"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/image-csi/image-csi-operator/api/v1alpha1"
	"github.com/image-csi/image-csi-operator/internal/operator/render"
)

// These take about a quarter of a minute each: the API server's times have no fractions, and a deadline has to pass.

func (f *fleet) message(kind string) func() string {
	return func() string {
		if found := meta.FindStatusCondition(f.statusOf(driverName).Conditions, kind); found != nil {
			return found.Message
		}
		return ""
	}
}

func TestAChangeWhosePodsCannotBeCreatedIsTakenBack(t *testing.T) {
	f := served(newCluster(t).start(), 4)
	f.Refuse("v2", "no PriorityClass with name no-such-class was found")
	f.update("v2", v1alpha1.RolloutActive)
	f.Eventually(f.images, rolledOut).Should(HaveLen(3))
	f.Eventually(func() []string { return f.statusOf(driverName).Rollout.Updating }, soon).Should(Equal([]string{"n0"}))
	f.Eventually(f.condition(driverName, "Degraded"), rolledOut).Should(Equal("True RolloutFailed"))
	f.Eventually(f.images, rolledOut).Should(Equal([]string{"v1", "v1", "v1", "v1"}))
	f.Expect(f.statusOf(driverName).Rollout.Failure).To(And(HaveField("Node", "n0"), HaveField("Reason", v1alpha1.ProblemNotCreated)))
	f.Expect(f.message("Degraded")()).To(And(ContainSubstring("no-such-class"), Not(ContainSubstring("x7k2p"))))
	f.Expect(f.MostDown()).To(Equal(1))
}

func TestAFirstInstallationWithoutPodsIsDegraded(t *testing.T) {
	c := newCluster(t).start()
	c.node("n0", "containerd://2.1.4")
	f := c.fleet()
	f.Refuse("v1", `violates PodSecurity "baseline:latest": privileged (container "node-plugin" must not set it)`)
	c.driver(driverName, impatient, func(d *v1alpha1.ImageCSIDriver) { d.Spec.NodePlugin.Image = "v1" })
	f.Eventually(f.problems(driverName), rolledOut).Should(Equal([]string{"n0 NodePluginNotCreated"}))
	f.Eventually(f.condition(driverName, "Degraded"), soon).Should(Equal("True NodePluginFailing"))
	f.Expect(f.message("Degraded")()).To(And(ContainSubstring("Pod Security level baseline:latest"),
		ContainSubstring("kubectl label --overwrite namespace "+namespace)))
	f.Expect(f.statusOf(driverName).Rollout.Message).To(ContainSubstring("0 of 1 node "))

	f.Refuse("v1", "")
	c.register("n0", driverName)
	f.Eventually(f.phase, rolledOut).Should(Equal(v1alpha1.PhaseComplete))
	f.Eventually(f.condition(driverName, "Degraded"), soon).Should(Equal("False AsExpected"))
}

func TestNodesThatDoNotReportProveNothing(t *testing.T) {
	f := served(newCluster(t).start(), 3)
	f.Wait("v2", "ImagePullBackOff", "manifest unknown")
	f.update("v2", v1alpha1.RolloutActive)
	f.Eventually(f.images, rolledOut).Should(Equal([]string{"v2", "v1", "v1"}))
	all := func(status corev1.ConditionStatus) {
		for _, node := range []string{"n0", "n1", "n2"} {
			f.reportsAs(node, status)
		}
	}
	all(corev1.ConditionUnknown)
	f.Consistently(f.phase, 8*time.Second).Should(BeElementOf(v1alpha1.PhaseCanary, v1alpha1.PhaseUpdating), "longer than the deadline")
	all(corev1.ConditionTrue)
	f.Eventually(f.phase, rolledOut).Should(Equal(v1alpha1.PhaseRolledBack))
	f.Eventually(f.images, soon).Should(Equal([]string{"v1", "v1", "v1"}))
	f.Expect(f.statusOf(driverName).Rollout.Failure).To(HaveField("Node", "n0"))
}

// refuseRules plays the webhook of a Prometheus operator that is away.
func (c *cluster) refuseRules() {
	c.Helper()
	for _, text := range []string{`
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: no-rules}
spec:
  failurePolicy: Fail
  matchConstraints: {resourceRules: [{apiGroups: [monitoring.coreos.com], apiVersions: ["*"], resources: [prometheusrules], operations: [CREATE, UPDATE]}]}
  validations: [{expression: "false", message: the webhook is away}]`, `
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {name: no-rules}
spec: {policyName: no-rules, validationActions: [Deny]}`} {
		object := &unstructured.Unstructured{}
		c.Expect(yaml.Unmarshal([]byte(text), &object.Object)).To(Succeed())
		c.Expect(c.Create(c.ctx, object)).To(Succeed())
		c.Cleanup(func() { _ = c.Delete(context.Background(), object) })
	}
	c.Eventually(func() string {
		rule := optionalObjects()[render.PrometheusRule().Kind]
		rule.SetName("try")
		if err := c.Create(c.ctx, rule, client.DryRunAll); err != nil {
			return err.Error()
		}
		return ""
	}, rolledOut).Should(ContainSubstring("the webhook is away"))
}

func TestARefusedAlertRuleStopsNeitherARolloutNorARollback(t *testing.T) {
	c := newCluster(t)
	c.installKinds()
	c.refuseRules()
	f := served(c.start(), 2)
	f.Eventually(f.condition(driverName, "Degraded"), soon).Should(Equal("True ApplyFailed"))
	f.update("v2", v1alpha1.RolloutActive)
	f.Eventually(f.images, 2*rolledOut).Should(HaveEach("v2"))
	f.Eventually(f.phase, 2*rolledOut).Should(Equal(v1alpha1.PhaseComplete))

	f.Wait("v3", "ImagePullBackOff", "manifest unknown")
	f.update("v3", v1alpha1.RolloutActive)
	f.Eventually(f.images, 2*rolledOut).Should(ContainElement("v3"))
	f.Eventually(f.images, 2*rolledOut).Should(HaveEach("v2"))
	f.Eventually(f.phase, 2*rolledOut).Should(Equal(v1alpha1.PhaseRolledBack))
	f.Expect(strings.Contains(f.message("Degraded")(), "PrometheusRule")).To(BeTrue())
}
