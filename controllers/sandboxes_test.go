package controllers_test

import (
	"context"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/image-csi/image-csi-operator/api/v1alpha1"
	"github.com/image-csi/image-csi-operator/internal/contract"
	"github.com/image-csi/image-csi-operator/internal/operator/nodeclass"
	"github.com/image-csi/image-csi-operator/internal/operator/probing"
	"github.com/image-csi/image-csi-operator/internal/operator/render"
	"github.com/image-csi/image-csi-operator/internal/simulatedfleet"
)

// probes plays what runs the pods of probes: the DaemonSet controller, the kubelets and the program.
type probes struct {
	c  *cluster
	mu sync.Mutex
	// reports by node; a node without one has a pod that does not come to an end.
	reports map[string]string
	// most is the largest number of nodes that were to run a probe at a time, made how many pods each has had.
	most int
	made map[string]int
}

func (c *cluster) probes() *probes {
	c.Helper()
	p := &probes{c: c, reports: map[string]string{}, made: map[string]int{}}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			if err := p.play(ctx); err != nil && ctx.Err() == nil {
				c.Log("the probes are played again after", err)
			}
			time.Sleep(30 * time.Millisecond)
		}
	}()
	c.Cleanup(func() { cancel(); <-done })
	return p
}

func (p *probes) report(node, report string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.reports[node] = report
}

func (p *probes) madeOn(node string) func() int {
	return func() int {
		p.mu.Lock()
		defer p.mu.Unlock()
		return p.made[node]
	}
}

func (p *probes) play(ctx context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	var daemonSets appsv1.DaemonSetList
	var nodes corev1.NodeList
	var pods corev1.PodList
	of := []client.ListOption{client.InNamespace(namespace), client.MatchingLabels{contract.SandboxLabel: contract.SandboxEngine}}
	for list, options := range map[client.ObjectList][]client.ListOption{&daemonSets: of, &pods: of, &nodes: nil} {
		if err := p.c.List(ctx, list, options...); err != nil {
			return err
		}
	}
	running := map[string]bool{}
	for _, node := range nodes.Items {
		if node.Labels[contract.SandboxProbeLabel] == contract.SandboxProbeRunning {
			running[node.Name] = true
		}
	}
	p.most = max(p.most, len(running))
	for i := range pods.Items {
		pod := &pods.Items[i]
		if len(daemonSets.Items) == 0 || !running[pod.Spec.NodeName] {
			if err := p.c.Delete(ctx, pod, client.GracePeriodSeconds(0)); err != nil {
				return err
			}
			continue
		}
		delete(running, pod.Spec.NodeName)
		report, ends := p.reports[pod.Spec.NodeName]
		if !ends || len(pod.Status.ContainerStatuses) > 0 {
			continue
		}
		pod.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "sandbox-probe", State: corev1.ContainerState{
			Terminated: &corev1.ContainerStateTerminated{Message: report, Reason: "Completed"}}}}
		if err := p.c.Status().Update(ctx, pod); err != nil {
			return err
		}
	}
	for i := range daemonSets.Items {
		for _, node := range slices.Sorted(maps.Keys(running)) {
			p.made[node]++
			if err := p.c.Create(ctx, simulatedfleet.Pod(&daemonSets.Items[i], node)); err != nil {
				return err
			}
		}
	}
	return nil
}

func asksForSandboxes(d *v1alpha1.ImageCSIDriver) {
	d.Spec.NestedSandboxes = &v1alpha1.NestedSandboxes{}
}

// sandboxesOf tells the labels of a node about sandboxes: whether it is proven, and the word of the result.
func (c *cluster) sandboxesOf(node string) func() string {
	return func() string {
		object := &corev1.Node{}
		if err := c.Get(c.ctx, client.ObjectKey{Name: node}, object); err != nil {
			return err.Error()
		}
		value := object.Labels[contract.SandboxProbeLabel]
		if _, word, found := strings.Cut(value, "."); found {
			value = word
		}
		return strings.TrimSpace(object.Labels[contract.SandboxNodeLabel] + " " + value)
	}
}

func (c *cluster) sandboxes() *v1alpha1.ClassSandboxes {
	for _, class := range c.statusOf(driverName).NodeClasses {
		if class.NestedSandboxes != nil {
			return class.NestedSandboxes
		}
	}
	return &v1alpha1.ClassSandboxes{}
}

func (c *cluster) refusals() []string {
	var out []string
	for _, refusal := range c.sandboxes().Refusals {
		out = append(out, string(refusal.Reason)+" "+refusal.Node)
	}
	return out
}

func (c *cluster) kernel(node, version string) {
	c.Helper()
	c.changeStatus(node, func(n *corev1.Node) { n.Status.NodeInfo.KernelVersion = version })
}

// What nodes report, some of it hostile, comes into their labels and into the status by words that the operator knows.
func TestNodesOnWhichASandboxHeldAreLabelledAndOthersAreToldWhy(t *testing.T) {
	c := newCluster(t)
	stop := c.operate()
	f := served(c, 6)
	p := c.probes()
	c.runtime("n5", "containerd://1.7.27")
	for node, report := range map[string]string{
		"n0": "Proven", "n1": "AppArmorRestriction: mount a file system in memory: permission denied", "n2": strings.Repeat("Proven\x01<b>", 10000), "n4": "Proven\n",
	} {
		p.report(node, report)
	}
	c.changeDriver(driverName, asksForSandboxes)
	const proven = "bubblewrap Proven"
	c.Eventually(c.sandboxesOf("n0"), rolledOut).Should(Equal(proven))
	c.Eventually(c.sandboxesOf("n1"), soon).Should(Equal("AppArmorRestriction"))
	c.Eventually(c.sandboxesOf("n2"), soon).Should(Equal("Unreadable"))
	c.Eventually(c.sandboxesOf("n4"), soon).Should(Equal(proven))
	c.Expect(c.sandboxesOf("n5")()).To(BeEmpty(), "its runtime is too old, which is known without a probe")
	c.Expect(p.madeOn("n5")()).To(BeZero())
	c.Eventually(c.refusals, soon).Should(Equal([]string{"AppArmorRestriction n1", "RuntimeTooOld n5", "Unreadable n2"}))
	c.Expect(c.sandboxes().State).To(Equal(v1alpha1.SandboxesPrepared))
	c.Expect(c.sandboxes().Proven).To(BeEquivalentTo(2))
	c.Expect(c.sandboxes().LastProbeTime).NotTo(BeNil())
	for _, refusal := range c.sandboxes().Refusals {
		c.Expect(refusal.Message).NotTo(ContainSubstring("<b>"))
	}
	c.Expect(p.most).To(BeNumerically("<=", probing.AtOnce))

	t.Log("the operator ends while n3 runs its probe, whose pod vanishes, and another goes on")
	c.Eventually(c.sandboxesOf("n3"), soon).Should(Equal("Running"))
	stop()
	c.Expect(c.DeleteAllOf(c.ctx, &corev1.Pod{}, client.InNamespace(namespace), client.MatchingLabels{contract.SandboxLabel: contract.SandboxEngine}, client.GracePeriodSeconds(0))).To(Succeed())
	c.Eventually(p.madeOn("n3"), soon).Should(BeNumerically(">", 1))
	p.report("n3", "Proven")
	c.operate()
	c.Eventually(c.sandboxesOf("n3"), soon).Should(Equal(proven))
	c.Eventually(func() int32 { return c.sandboxes().Proven }, soon).Should(BeEquivalentTo(3))
	for node, times := range map[string]int{"n0": 1, "n1": 1, "n2": 1, "n4": 1} {
		c.Expect(p.madeOn(node)()).To(Equal(times), "results stand: "+node)
	}
	c.settle()
	writes := c.writes.Load()
	c.touch("n0")
	c.settle()
	c.Expect(c.writes.Load()).To(Equal(writes), "nothing changed")

	t.Log("an administrator has repaired n1, and has it tried again; n5 has a new runtime; n2 leaves the cluster")
	p.report("n1", "Proven")
	p.report("n5", "Proven")
	c.Expect(c.Patch(c.ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1"}}, mergePatch(`{"metadata": {"labels": {"imagecsi.dev/sandbox-probe": null}}}`))).To(Succeed())
	c.runtime("n5", "containerd://2.1.4")
	c.Expect(c.Delete(c.ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n2"}})).To(Succeed())
	c.Eventually(c.sandboxesOf("n1"), soon).Should(Equal(proven))
	c.Eventually(c.sandboxesOf("n5"), soon).Should(Equal(proven))
	c.Eventually(func() v1alpha1.SandboxState { return c.sandboxes().State }, rolledOut).Should(Equal(v1alpha1.SandboxesProven))
	c.Expect(c.sandboxes().Proven).To(BeEquivalentTo(5))
	c.Expect(c.refusals()).To(BeEmpty())

	t.Log("n0 has a kernel on which no sandbox holds, and keeps its label until that is known")
	c.kernel("n0", "6.18.0")
	c.Eventually(p.madeOn("n0"), soon).Should(Equal(2))
	c.Eventually(c.sandboxesOf("n0"), soon).Should(Equal(proven))
	p.report("n0", "ProcMasked: mount /proc: operation not permitted")
	c.kernel("n0", "6.18.1")
	c.Eventually(c.sandboxesOf("n0"), soon).Should(Equal("ProcMasked"))
	c.Eventually(c.refusals, soon).Should(Equal([]string{"ProcMasked n0"}))
	c.kernel("n0", "5.10.0-30-amd64")
	c.Eventually(c.refusals, soon).Should(Equal([]string{"KernelTooOld n0"}))
	c.Eventually(c.sandboxesOf("n0"), soon).Should(BeEmpty())

	t.Log("nobody asks for sandboxes any more")
	c.changeDriver(driverName, func(d *v1alpha1.ImageCSIDriver) { d.Spec.NestedSandboxes = nil })
	for _, node := range []string{"n0", "n1", "n3", "n4", "n5"} {
		c.Eventually(c.sandboxesOf(node), rolledOut).Should(BeEmpty(), node)
	}
	c.Eventually(f.probeSets, rolledOut).Should(BeEmpty())
}

func (f *fleet) probeSets() []string {
	var list appsv1.DaemonSetList
	f.Expect(f.List(f.ctx, &list, client.InNamespace(namespace), client.HasLabels{contract.SandboxLabel})).To(Succeed())
	var out []string
	for _, daemonSet := range list.Items {
		out = append(out, daemonSet.Name)
	}
	return out
}

func TestNothingOfProbesIsLeftOfADriverThatIsDeletedMeanwhile(t *testing.T) {
	f := served(newCluster(t).start(), 2)
	p := f.probes()
	p.report("n0", "Proven")
	f.changeDriver(driverName, asksForSandboxes)
	f.Eventually(f.sandboxesOf("n0"), rolledOut).Should(Equal("bubblewrap Proven"))
	f.Eventually(f.sandboxesOf("n1"), soon).Should(Equal("Running"))
	f.Expect(f.probeSets()).To(HaveLen(1))
	f.deleteDriver(driverName)
	f.Eventually(f.exists(driverNamed(driverName)), rolledOut).Should(BeFalse())
	f.Expect(f.probeSets()).To(BeEmpty())
	f.Expect(f.sandboxesOf("n0")()).To(BeEmpty())
	f.Expect(f.sandboxesOf("n1")()).To(BeEmpty())
}

// probeSet returns the DaemonSet of a driver's probes, as the operator writes it.
func (c *cluster) probeSet(driver string) *appsv1.DaemonSet {
	c.Helper()
	object := &v1alpha1.ImageCSIDriver{}
	c.Expect(c.Get(c.ctx, client.ObjectKey{Name: driver}, object)).To(Succeed())
	found, _ := nodeclass.NewTable(nil).Lookup(nodeclass.Containerd)
	for _, rendered := range render.Render(render.Input{Driver: object, Names: render.Names(object), Classes: []nodeclass.Class{found},
		Settings: render.Settings{Namespace: namespace, NodePluginImage: ownImage}}).Apply {
		if daemonSet, is := rendered.(*appsv1.DaemonSet); is && render.IsSandboxProbe(daemonSet) {
			return daemonSet
		}
	}
	c.Fatal("the driver has no probes")
	return nil
}

// A thief of the operator's token gets nothing from probes: not another program, not another right, not another node.
func TestTheOperatorMayRunNoOtherPodThanThatOfAProbe(t *testing.T) {
	c := newCluster(t)
	me := c.asOperator()
	c.Expect(c.create(driverName, "spec: {nestedSandboxes: {}}")).To(Succeed())
	probe := c.probeSet(driverName)
	c.Eventually(c.tries(me, probe), soon).Should(Succeed())
	pod := func(edit func(*corev1.PodSecurityContext)) func(*appsv1.DaemonSet) {
		return ofPod(func(p *corev1.PodSpec) { edit(p.SecurityContext) })
	}
	right := func(edit func(*corev1.SecurityContext)) func(*appsv1.DaemonSet) {
		return ofContainer(func(p *corev1.Container) { edit(p.SecurityContext) })
	}
	const users, program, rights, user, place, volume, account, selinux = "users of their own", "the program of probes of sandboxes only", "no right that a pod with sandboxes has not",
		"as user 1000 only", "on nodes with the label imagecsi.dev/sandbox-probe=Running only", "no volume but an empty one", "their driver's own service account only",
		"the SELinux type container_engine_t only"
	for _, test := range []struct {
		what, words string
		edit        func(*appsv1.DaemonSet)
	}{
		{"with the node's users", users, ofPod(func(p *corev1.PodSpec) { p.HostUsers, p.Containers[0].SecurityContext.ProcMount = nil, nil })},
		{"in a RuntimeClass", users, ofPod(func(p *corev1.PodSpec) { p.RuntimeClassName = ptr.To("kata") })},
		{"with other hosts", users, ofPod(func(p *corev1.PodSpec) { p.HostAliases = []corev1.HostAlias{{IP: "1.2.3.4", Hostnames: []string{"x"}}} })},
		{"on every node", place, ofPod(func(p *corev1.PodSpec) { delete(p.NodeSelector, contract.SandboxProbeLabel) })},
		{"on a node of choice", place, ofPod(func(p *corev1.PodSpec) { p.NodeName = "control-plane" })},
		{"as a node plugin", place, func(d *appsv1.DaemonSet) { d.Labels[contract.NodeClassLabel] = nodeclass.Containerd }},
		{"of no driver", place, func(d *appsv1.DaemonSet) { delete(d.Labels, contract.DriverLabel) }},
		{"with another label", place, func(d *appsv1.DaemonSet) { d.Labels[contract.SandboxLabel] = "x" }},
		{"a token", account, ofPod(func(p *corev1.PodSpec) { p.AutomountServiceAccountToken = nil })},
		{"another account", account, ofPod(func(p *corev1.PodSpec) { p.ServiceAccountName = "builder" })},
		{"another program", program, ofContainer(func(p *corev1.Container) { p.Command = []string{"/manager"} })},
		{"the node plugin", program, ofContainer(func(p *corev1.Container) { p.Args = nil })},
		{"a part of the probe", program, ofContainer(func(p *corev1.Container) { p.Args = append(p.Args, "build") })},
		{"an environment", program, ofContainer(func(p *corev1.Container) { p.Env = []corev1.EnvVar{{Name: "LD_PRELOAD", Value: "x"}} })},
		{"a hook", program, ofContainer(func(p *corev1.Container) {
			p.Lifecycle = &corev1.Lifecycle{PreStop: &corev1.LifecycleHandler{Exec: &corev1.ExecAction{Command: []string{"x"}}}}
		})},
		{"two containers", program, ofPod(func(p *corev1.PodSpec) {
			p.Containers = append(p.Containers, corev1.Container{Name: "x", Image: ownImage})
		})},
		{"an init container", program, ofPod(func(p *corev1.PodSpec) { p.InitContainers = []corev1.Container{{Name: "x", Image: ownImage}} })},
		{"a directory of the node", volume + "|" + otherDirectory, hostPath("/")},
		{"a secret", volume, ofPod(func(p *corev1.PodSpec) {
			p.Volumes = append(p.Volumes, corev1.Volume{Name: "s", VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "s"}}})
		})},
		{"root", user, pod(func(s *corev1.PodSecurityContext) { s.RunAsUser = ptr.To[int64](0) })},
		{"no profile", user, pod(func(s *corev1.PodSecurityContext) { s.SeccompProfile = nil })},
		{"another profile", user, pod(func(s *corev1.PodSecurityContext) {
			s.SeccompProfile.LocalhostProfile = ptr.To("imagecsi/sandbox-0123456789ab/own.json")
		})},
		{"an AppArmor profile", user, pod(func(s *corev1.PodSecurityContext) {
			s.AppArmorProfile = &corev1.AppArmorProfile{Type: corev1.AppArmorProfileTypeUnconfined}
		})},
		{"another SELinux type", selinux, pod(func(s *corev1.PodSecurityContext) { s.SELinuxOptions.Type = contract.SELinuxUnconfined })},
		{"another SELinux level", selinux, pod(func(s *corev1.PodSecurityContext) { s.SELinuxOptions.Level = "s0:c1,c2" })},
		{"another SELinux user", selinux, pod(func(s *corev1.PodSecurityContext) { s.SELinuxOptions.User = "system_u" })},
		{"another SELinux role", selinux, pod(func(s *corev1.PodSecurityContext) { s.SELinuxOptions.Role = "system_r" })},
		{"its own SELinux type", rights + "|" + otherProfile, right(func(s *corev1.SecurityContext) {
			s.SELinuxOptions = &corev1.SELinuxOptions{Type: contract.SELinuxUnconfined}
		})},
		{"a group", user, pod(func(s *corev1.PodSecurityContext) { s.SupplementalGroups = []int64{0} })},
		{"a capability", rights, right(func(s *corev1.SecurityContext) { s.Capabilities.Add = []corev1.Capability{"SYS_ADMIN"} })},
		{"the runtime's capabilities", rights, right(func(s *corev1.SecurityContext) { s.Capabilities = nil })},
		{"to become more", rights, right(func(s *corev1.SecurityContext) { s.AllowPrivilegeEscalation = nil })},
		{"its own user", rights, right(func(s *corev1.SecurityContext) { s.RunAsUser = ptr.To[int64](0); s.RunAsNonRoot = ptr.To(false) })},
		{"its own profile", rights + "|" + otherProfile, right(func(s *corev1.SecurityContext) {
			s.SeccompProfile = &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeUnconfined}
		})},
		{"another image", otherImage, ofContainer(func(p *corev1.Container) { p.Image = "example.com/thief" })},
	} {
		c.Eventually(c.tries(me, probe, test.edit), soon).Should(MatchError(MatchRegexp(test.words)), test.what)
	}
	c.Expect(c.tries(me, probe, pod(func(s *corev1.PodSecurityContext) { s.SELinuxOptions = nil }))()).To(Succeed(), "as an earlier release's operator writes it")
	c.Expect(c.tries(c.Client, probe, hostPath("/"))()).To(Succeed(), "others are held by nothing here")
}
