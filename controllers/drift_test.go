package controllers_test

import (
	"testing"
	"time"

	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/version"
	"k8s.io/client-go/discovery"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/image-csi/image-csi-operator/api/v1alpha1"
	"github.com/image-csi/image-csi-operator/internal/contract"
	"github.com/image-csi/image-csi-operator/internal/operator/render"
)

func TestHandEditsOfADaemonSetAreRepaired(t *testing.T) {
	c := newCluster(t).start()
	c.node("one", "containerd://2.1.4")
	c.driver(driverName)
	daemonSet := c.daemonSet("containerd")
	c.Eventually(c.exists(daemonSet), soon).Should(BeTrue())
	want := daemonSet.DeepCopy()
	edits := map[string]func(){
		"image":      func() { daemonSet.Spec.Template.Spec.Containers[0].Image = "example.com/evil" },
		"argument":   func() { daemonSet.Spec.Template.Spec.Containers[0].Args[0] = "--driver-name=evil" },
		"privileged": func() { daemonSet.Spec.Template.Spec.Containers[0].SecurityContext.Privileged = new(bool) },
		"selector":   func() { delete(daemonSet.Spec.Template.Spec.NodeSelector, contract.NodeClassLabel) },
		"toleration": func() { daemonSet.Spec.Template.Spec.Tolerations = nil },
		"label":      func() { daemonSet.Labels[contract.NodeClassLabel] = "evil" },
		"our label":  func() { delete(daemonSet.Labels, contract.DriverLabel) },
		"strategy": func() {
			daemonSet.Spec.UpdateStrategy = appsv1.DaemonSetUpdateStrategy{Type: appsv1.RollingUpdateDaemonSetStrategyType}
		},
	}
	for name, edit := range edits {
		t.Run(name, func(t *testing.T) {
			c.change(daemonSet, edit)
			c.Eventually(func(g Gomega) {
				g.Expect(c.Get(c.ctx, client.ObjectKeyFromObject(daemonSet), daemonSet)).To(Succeed())
				daemonSet.Spec.UpdateStrategy.RollingUpdate = nil // The editor's own field, without a meaning for OnDelete.
				g.Expect(daemonSet.Spec).To(Equal(want.Spec))
				g.Expect(daemonSet.Annotations[contract.RolloutAnnotation]).To(Equal(want.Annotations[contract.RolloutAnnotation]))
				g.Expect(daemonSet.Labels).To(Equal(want.Labels))
			}, soon).Should(Succeed())
		})
	}
	t.Run("deletion", func(t *testing.T) {
		uid := daemonSet.UID
		c.Expect(c.Delete(c.ctx, daemonSet, client.PropagationPolicy(metav1.DeletePropagationBackground))).To(Succeed())
		c.Eventually(func() bool { return c.exists(daemonSet)() && daemonSet.UID != uid }, soon).Should(BeTrue())
	})
}

// Another program that wants the same field is not answered at the speed of the API server.
func TestAContestedFieldIsPutBackEverMoreSlowlyAndNamesWhoChangesIt(t *testing.T) {
	c := newCluster(t).start()
	c.node("one", "containerd://2.1.4")
	c.driver(driverName)
	daemonSet := c.daemonSet("containerd")
	c.Eventually(c.exists(daemonSet), soon).Should(BeTrue())
	fight := func() {
		daemonSet := daemonSet.DeepCopy()
		for c.Get(c.ctx, client.ObjectKeyFromObject(daemonSet), daemonSet) == nil {
			if daemonSet.Spec.Template.Spec.PriorityClassName == "mirrored" {
				time.Sleep(10 * time.Millisecond)
				continue
			}
			_ = c.Patch(c.ctx, daemonSet, mergePatch(`{"spec": {"template": {"spec": {"priorityClassName": "mirrored"}}}}`), client.FieldOwner("mirror-controller"))
		}
	}
	go fight()
	c.Eventually(c.condition(driverName, "Degraded"), 4*soon).Should(Equal("True FieldContested"))
	degraded := meta.FindStatusCondition(c.statusOf(driverName).Conditions, v1alpha1.ConditionDegraded)
	c.Expect(degraded.Message).To(And(ContainSubstring("mirror-controller"), ContainSubstring(driverName+"-containerd")))
	before := c.writes.Load()
	time.Sleep(3 * time.Second)
	c.Expect(c.writes.Load() - before).To(BeNumerically("<", 6))
}

// What is flipped of a DaemonSet's confinement shows, whether or not it is the operator's to put it back.
func TestADaemonSetThatConfinesLessShowsInTheStatus(t *testing.T) {
	c := newCluster(t).start()
	c.node("one", "containerd://2.1.4")
	c.driver(driverName)
	daemonSet := c.daemonSet("containerd")
	c.Eventually(c.exists(daemonSet), soon).Should(BeTrue())
	looser := func() []string {
		if classes := c.statusOf(driverName).NodeClasses; len(classes) == 1 && classes[0].Confinement != nil {
			return classes[0].Confinement.Looser
		}
		return []string{"no confinement"}
	}
	message := func() string {
		if found := meta.FindStatusCondition(c.statusOf(driverName).Conditions, v1alpha1.ConditionDegraded); found != nil {
			return found.Reason + " " + found.Message
		}
		return ""
	}
	c.Eventually(looser, soon).Should(BeEmpty())

	// The operator does not set it, and so does not take it back.
	c.change(daemonSet, func() { daemonSet.Spec.Template.Spec.HostPID = true })
	c.Eventually(message, soon).Should(And(HavePrefix("LessConfined"), ContainSubstring("hostPID: true"), ContainSubstring(daemonSet.Name)))
	c.Expect(looser()).To(Equal([]string{"hostPID: true"}))
	c.change(daemonSet, func() { daemonSet.Spec.Template.Spec.HostPID = false })
	c.Eventually(looser, soon).Should(BeEmpty())
	c.Eventually(message, soon).ShouldNot(HavePrefix("LessConfined"))

	c.changeDriver(driverName, func(d *v1alpha1.ImageCSIDriver) { d.Spec.ManagementState = v1alpha1.Unmanaged })
	c.change(daemonSet, func() {
		context := daemonSet.Spec.Template.Spec.Containers[0].SecurityContext
		context.SeccompProfile.Type = corev1.SeccompProfileTypeUnconfined
		context.Capabilities.Add = append(context.Capabilities.Add, "NET_RAW")
	})
	c.Eventually(looser, soon).Should(Equal([]string{"securityContext.capabilities.add: NET_RAW", "securityContext.seccompProfile: Unconfined instead of RuntimeDefault"}))
	c.Eventually(message, soon).Should(HavePrefix("LessConfined"))
	c.changeDriver(driverName, func(d *v1alpha1.ImageCSIDriver) { d.Spec.ManagementState = v1alpha1.Managed })
	c.Eventually(looser, soon).Should(BeEmpty(), "the operator puts it back")
	c.Eventually(message, soon).ShouldNot(HavePrefix("LessConfined"))
}

func TestFieldsOfOtherOwnersSurvive(t *testing.T) {
	c := newCluster(t).start()
	c.node("one", "containerd://2.1.4")
	c.driver(driverName)
	daemonSet := c.daemonSet("containerd")
	c.Eventually(c.exists(daemonSet), soon).Should(BeTrue())
	c.change(daemonSet, func() {
		daemonSet.Annotations = map[string]string{"example.com/note": "kept"}
		daemonSet.Spec.Template.Annotations["kubectl.kubernetes.io/restartedAt"] = "2030-01-01T00:00:00Z"
		daemonSet.Spec.Template.Spec.Containers[0].Image = "example.com/evil"
	})
	c.Eventually(func(g Gomega) {
		g.Expect(c.Get(c.ctx, client.ObjectKeyFromObject(daemonSet), daemonSet)).To(Succeed())
		g.Expect(daemonSet.Spec.Template.Spec.Containers[0].Image).To(Equal("example.com/node-plugin:v1"))
	}, soon).Should(Succeed())
	c.Expect(daemonSet.Annotations).To(HaveKeyWithValue("example.com/note", "kept"))
	c.Expect(daemonSet.Spec.Template.Annotations).To(HaveKey("kubectl.kubernetes.io/restartedAt"))
}

// profileLabel is the level of a CSIDriver's inline volumes on OpenShift.
const profileLabel = "security.openshift.io/csi-ephemeral-volume-profile"

func TestTheLevelThatAnAdministratorGivesACSIDriverStays(t *testing.T) {
	c := newCluster(t)
	legacy := c.foreignDriver(contract.LegacyEarlierDriverName, false)
	c.Expect(c.Patch(c.ctx, legacy, mergePatch(`{"metadata": {"labels": {"`+profileLabel+`": "privileged"}}}`))).To(Succeed())
	c.start()
	c.node("one", "containerd://2.1.4")
	c.driver(driverName, func(d *v1alpha1.ImageCSIDriver) {
		d.Spec.Aliases = []v1alpha1.DriverName{contract.LegacyEarlierDriverName}
	})
	level := func(name string) func() string {
		return func() string {
			found := csiDriver(name)
			c.exists(found)()
			return found.Labels[profileLabel]
		}
	}
	c.Eventually(c.ownerOf(legacy.Name), soon).Should(Equal(driverName))
	c.Eventually(level(driverName), soon).Should(Equal("restricted"))
	set := func(value string) {
		c.Expect(c.Patch(c.ctx, csiDriver(driverName), mergePatch(`{"metadata": {"labels": {"`+profileLabel+`": `+value+`}}}`), client.FieldOwner("kubectl-label"))).To(Succeed())
	}
	set(`"privileged"`)
	c.Consistently(level(driverName), quiet).Should(Equal("privileged"))
	c.Expect(c.Patch(c.ctx, csiDriver(driverName), mergePatch(`{"spec": {"podInfoOnMount": false}}`))).To(Succeed())
	c.Eventually(func() bool {
		found := csiDriver(driverName)
		return c.exists(found)() && *found.Spec.PodInfoOnMount
	}, soon).Should(BeTrue())
	c.Expect(level(driverName)()).To(Equal("privileged"))
	c.Expect(level(legacy.Name)()).To(Equal("privileged"), "also of an object that was taken over")
	set("null")
	c.Eventually(level(driverName), soon).Should(Equal("restricted"))
}

func TestASettingThatIsTakenBackGoes(t *testing.T) {
	c := newCluster(t).start()
	c.node("one", "containerd://2.1.4")
	c.driver(driverName, func(d *v1alpha1.ImageCSIDriver) {
		d.Spec.Aliases = []v1alpha1.DriverName{"alias.example.com"}
		d.Spec.NodePlugin.ImagePullSecrets = []v1alpha1.SecretName{{Name: "pull"}}
		d.Spec.Credentials.Secrets = []v1alpha1.SecretName{{Name: "registry"}, {Name: "another.registry"}}
		d.Spec.Credentials.Providers = credentialProviders()
	})
	alias := &storagev1.CSIDriver{ObjectMeta: metav1.ObjectMeta{Name: "alias.example.com"}}
	c.Eventually(c.exists(alias), soon).Should(BeTrue())
	daemonSet := c.daemonSet("containerd")
	c.Eventually(c.exists(daemonSet), soon).Should(BeTrue())
	c.Expect(daemonSet.Spec.Template.Spec.ImagePullSecrets).To(HaveLen(1))
	c.Expect(credentialSources(daemonSet)).To(HaveLen(2))
	c.Expect(daemonSet.Spec.Template.Spec.Containers).To(HaveLen(2))
	csiDriver := &storagev1.CSIDriver{ObjectMeta: metav1.ObjectMeta{Name: driverName}}
	c.Eventually(c.exists(csiDriver), soon).Should(BeTrue())
	c.hasTokens(csiDriver)

	c.changeDriver(driverName, func(d *v1alpha1.ImageCSIDriver) {
		d.Spec.Aliases = nil
		d.Spec.NodePlugin.ImagePullSecrets = nil
		d.Spec.Credentials.Secrets = nil
		d.Spec.Credentials.Providers = nil
	})
	c.Eventually(c.exists(alias), soon).Should(BeFalse())
	c.Eventually(func(g Gomega) {
		g.Expect(c.Get(c.ctx, client.ObjectKeyFromObject(daemonSet), daemonSet)).To(Succeed())
		g.Expect(daemonSet.Spec.Template.Spec.ImagePullSecrets).To(BeEmpty())
		g.Expect(credentialSources(daemonSet)).To(BeEmpty())
		g.Expect(daemonSet.Spec.Template.Spec.Containers).To(HaveLen(1))
		g.Expect(c.exists(csiDriver)()).To(BeTrue())
		g.Expect(csiDriver.Spec.TokenRequests).To(BeEmpty())
		g.Expect(daemonSet.Spec.Template.Spec.Containers[0].Args).NotTo(ContainElement(ContainSubstring("alias")))
	}, soon).Should(Succeed())
}

// hasTokens wants a CSIDriver to have service account tokens handed over among a volume's secrets. Where the API server does not
// know that field, there have to be no tokens, and the driver has to say so.
func (c *cluster) hasTokens(csiDriver *storagev1.CSIDriver) {
	c.Helper()
	if !c.serves(render.TokensInSecrets()) {
		c.Expect(csiDriver.Spec.TokenRequests).To(BeEmpty())
		c.Eventually(c.condition(driverName, "Degraded"), soon).Should(Equal("True FieldNotServed"))
		return
	}
	c.Expect(csiDriver.Spec.TokenRequests).To(Equal([]storagev1.TokenRequest{{Audience: "registry.example.com"}}))
	c.Expect(csiDriver.Spec.ServiceAccountTokenInSecrets).To(HaveValue(BeTrue()))
}

// serves reports whether the API server is of a release that knows a field.
func (c *cluster) serves(field render.ServedField) bool {
	c.Helper()
	asking, err := discovery.NewDiscoveryClientForConfig(c.server.admin)
	c.Expect(err).NotTo(HaveOccurred())
	info, err := asking.ServerVersion()
	c.Expect(err).NotTo(HaveOccurred())
	return version.MustParseGeneric(info.GitVersion).AtLeast(version.MustParseGeneric(field.Since))
}

func credentialProviders() *v1alpha1.CredentialProviders {
	return &v1alpha1.CredentialProviders{
		ConfigPath: "/etc/providers.yaml", BinDir: "/opt/providers", TokenAudiences: []v1alpha1.TokenAudience{"registry.example.com"},
	}
}

// credentialSources are the driver's secrets that the node plugin gets as files.
func credentialSources(daemonSet *appsv1.DaemonSet) []corev1.VolumeProjection {
	for _, volume := range daemonSet.Spec.Template.Spec.Volumes {
		if volume.Projected != nil {
			return volume.Projected.Sources
		}
	}
	return nil
}

// The operator must take what it applied for what it wants: otherwise it would write on every look.
func TestAppliedObjectsAreTakenAsTheyAre(t *testing.T) {
	c := newCluster(t).start()
	c.node("one", "containerd://2.1.4")
	c.node("two", "cri-o://1.36.3")
	c.driver(driverName, func(d *v1alpha1.ImageCSIDriver) {
		d.Spec.NodePlugin.Resources = &v1alpha1.Resources{Limits: corev1.ResourceList{
			corev1.ResourceCPU: quantity("1500m"), corev1.ResourceMemory: quantity("0.5Gi")}}
		d.Spec.NodePlugin.Tolerations = []v1alpha1.Toleration{{Key: "a", Operator: "Exists"}}
		d.Spec.Credentials.Secrets = []v1alpha1.SecretName{{Name: "registry"}}
		d.Spec.Credentials.Providers = credentialProviders()
	})
	c.Eventually(c.exists(c.daemonSet("crio")), soon).Should(BeTrue())
	c.settle()
	writes := c.writes.Load()
	c.touch("one")
	time.Sleep(quiet)
	c.Expect(c.writes.Load()).To(Equal(writes))
}
