package controllers_test

import (
	"slices"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/image-csi/image-csi-operator/api/v1alpha1"
	"github.com/image-csi/image-csi-operator/internal/contract"
	"github.com/image-csi/image-csi-operator/internal/operator/render"
)

// profiles lists the driver's SeccompProfiles; there are none without the kind.
func (c *cluster) profiles() []unstructured.Unstructured {
	c.Helper()
	list := &unstructured.UnstructuredList{}
	list.SetGroupVersionKind(render.SeccompProfile().GroupVersion().WithKind("SeccompProfileList"))
	if err := c.List(c.ctx, list, client.MatchingLabels{contract.DriverLabel: driverName}); !meta.IsNoMatchError(err) {
		c.Expect(err).NotTo(HaveOccurred())
	}
	return list.Items
}

func (c *cluster) profileCount() func() int {
	return func() int { return len(c.profiles()) }
}

// report plays the Security Profiles Operator, which tells what became of the driver's profile.
func (c *cluster) report(state string) {
	c.Helper()
	var profile unstructured.Unstructured
	c.Eventually(func() error {
		found := c.profiles()
		c.Expect(found).To(HaveLen(1))
		profile = found[0]
		profile.Object["status"] = map[string]any{"status": state, "localhostProfile": "operator/" + profile.GetName() + ".json",
			"conditions": []any{map[string]any{"type": "Ready", "message": "So it is."}}}
		return c.Status().Update(c.ctx, &profile)
	}, soon).Should(Succeed())
}

// seccomp returns the types and the files of the node plugins' profiles, each once.
func (f *fleet) seccomp() []string {
	var out []string
	for _, pod := range f.Pods() {
		profile := pod.Spec.Containers[0].SecurityContext.SeccompProfile
		text := string(profile.Type)
		if profile.LocalhostProfile != nil {
			text += " " + *profile.LocalhostProfile
		}
		out = append(out, text)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func seccompOf(profile v1alpha1.SeccompProfile) func(*v1alpha1.ImageCSIDriver) {
	return func(d *v1alpha1.ImageCSIDriver) { d.Spec.NodePlugin.SeccompProfile = profile }
}

func (f *fleet) degraded() string {
	for _, condition := range f.statusOf(driverName).Conditions {
		if condition.Type == v1alpha1.ConditionDegraded {
			return string(condition.Status) + " " + condition.Message
		}
	}
	return ""
}

func TestNodePluginsGetTheirOwnSeccompProfileWhenTheSecurityProfilesOperatorComes(t *testing.T) {
	c := newCluster(t).start()
	f := served(c, 2)
	runtimeDefault := []string{"RuntimeDefault"}
	c.changeDriver(driverName, seccompOf(v1alpha1.SeccompNarrow))
	c.Eventually(f.degraded, soon).Should(And(HavePrefix("True"), ContainSubstring("the cluster has no Security Profiles Operator")))
	c.Expect(f.seccomp()).To(Equal(runtimeDefault))

	c.installKinds()
	c.Eventually(c.profileCount(), soon).Should(Equal(1))
	c.report("Pending")
	c.Eventually(f.degraded, soon).Should(And(HavePrefix("False"), ContainSubstring("until the Security Profiles Operator has installed")))
	c.Consistently(f.seccomp, quiet).Should(Equal(runtimeDefault), "before it is installed")

	c.report("Installed")
	narrow := []string{"Localhost operator/" + c.profiles()[0].GetName() + ".json"}
	c.Eventually(f.seccomp, rolledOut).Should(Equal(narrow))
	c.Eventually(f.phase, rolledOut).Should(Equal(v1alpha1.PhaseComplete))
	c.Eventually(f.degraded, soon).Should(Equal("False No action needed."))
	c.settle()
	writes := c.writes.Load()
	c.report("Pending") // A node joins.
	c.Consistently(f.seccomp, quiet).Should(Equal(narrow), "while a node that joins waits for its file")
	c.touch("n0")
	c.settle()
	c.Expect(c.writes.Load()).To(Equal(writes), "nothing changed")

	c.report("Error")
	c.Eventually(f.degraded, soon).Should(And(HavePrefix("True"), ContainSubstring("is in state Error: So it is.")))
	c.Eventually(f.seccomp, rolledOut).Should(Equal(runtimeDefault), "in error")
	c.report("Installed")
	c.Eventually(f.seccomp, rolledOut).Should(Equal(narrow), "installed again")
	c.Eventually(f.phase, rolledOut).Should(Equal(v1alpha1.PhaseComplete))

	c.changeDriver(driverName, seccompOf(v1alpha1.SeccompRuntimeDefault))
	c.Eventually(func() int {
		found := len(c.profiles())
		if found == 0 {
			c.Expect(f.seccomp()).To(Equal(runtimeDefault), "the profile went before its last node plugin")
		}
		return found
	}, rolledOut).Should(BeZero())
}

func TestTheSeccompProfileIsRepairedAndGoesWithTheDriver(t *testing.T) {
	c := newCluster(t).start()
	c.installKinds()
	f := served(c, 1)
	c.changeDriver(driverName, seccompOf(v1alpha1.SeccompNarrow))
	c.Eventually(c.profileCount(), soon).Should(Equal(1))
	want := c.profiles()[0]
	edited := want.DeepCopy()
	c.change(edited, func() {
		wide := []any{map[string]any{"names": []any{"bpf"}, "action": "SCMP_ACT_ALLOW"}}
		c.Expect(unstructured.SetNestedSlice(edited.Object, wide, "spec", "syscalls")).To(Succeed())
		c.Expect(unstructured.SetNestedField(edited.Object, "SCMP_ACT_ALLOW", "spec", "defaultAction")).To(Succeed())
	})
	c.Eventually(func() any { return c.profiles()[0].Object["spec"] }, soon).Should(Equal(want.Object["spec"]))

	c.Expect(c.Delete(c.ctx, want.DeepCopy())).To(Succeed())
	c.Eventually(func() bool {
		found := c.profiles()
		return len(found) == 1 && found[0].GetUID() != want.GetUID()
	}, soon).Should(BeTrue())
	c.report("Installed")
	c.Eventually(func() string { return strings.Join(f.seccomp(), " ") }, rolledOut).Should(HavePrefix("Localhost"))

	c.changeDriver(driverName, state(v1alpha1.Removed))
	c.Eventually(c.profileCount(), rolledOut).Should(BeZero())
}

// Right after its start, an operator does not know yet whether the cluster has the kind.
func TestARestartOfTheOperatorLeavesTheSeccompProfileOfTheNodePlugins(t *testing.T) {
	c := newCluster(t)
	stop := c.operate()
	c.installKinds()
	f := served(c, 1)
	c.changeDriver(driverName, seccompOf(v1alpha1.SeccompNarrow))
	c.Eventually(c.profileCount(), soon).Should(Equal(1))
	c.report("Installed")
	c.Eventually(func() string { return strings.Join(f.seccomp(), " ") }, rolledOut).Should(HavePrefix("Localhost"))
	c.Eventually(f.phase, rolledOut).Should(Equal(v1alpha1.PhaseComplete))
	c.settle()
	daemonSet := c.daemonSet("containerd")
	generation := func() int64 {
		c.Expect(c.Get(c.ctx, client.ObjectKeyFromObject(daemonSet), daemonSet)).To(Succeed())
		return daemonSet.Generation
	}
	before := generation()
	stop()
	c.start()
	c.touch("n0")
	c.Consistently(generation, quiet).Should(Equal(before))
}
