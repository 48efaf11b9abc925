package controllers_test

import (
	"cmp"
	"context"
	"path"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/image-csi/image-csi-operator/api/v1alpha1"
	"github.com/image-csi/image-csi-operator/internal/contract"
	"github.com/image-csi/image-csi-operator/internal/operator/nodeclass"
	"github.com/image-csi/image-csi-operator/internal/operator/render"
)

// What somebody could do who has stolen the operator's token. Each try is made with the rights of config/rbac, against
// the policies of config/admission, and beside each stands what the operator itself writes.

// ownImage is what the annotation of the node plugins' namespace allows.
const ownImage = "example.com/node-plugin:v1"

// rendered returns the DaemonSet of a driver for a class, with its revision, as a first rollout writes it.
func (c *cluster) rendered(driver, class string) *appsv1.DaemonSet {
	c.Helper()
	object := &v1alpha1.ImageCSIDriver{}
	c.Expect(c.Get(c.ctx, client.ObjectKey{Name: driver}, object)).To(Succeed())
	found, known := nodeclass.NewTable(object.Spec.NodeClasses).Lookup(class)
	c.Expect(known).To(BeTrue(), class)
	output := render.Render(render.Input{Driver: object, Names: render.Names(object), Classes: []nodeclass.Class{found},
		Settings: render.Settings{Namespace: namespace, NodePluginImage: ownImage}})
	for _, object := range output.Apply {
		if daemonSet, is := object.(*appsv1.DaemonSet); is {
			return daemonSet
		}
	}
	c.Fatal("no DaemonSet of class", class)
	return nil
}

// tries creates a DaemonSet with an edit, without effect.
func (c *cluster) tries(who client.Client, daemonSet *appsv1.DaemonSet, edits ...func(*appsv1.DaemonSet)) func() error {
	return func() error {
		daemonSet := daemonSet.DeepCopy()
		for _, edit := range edits {
			edit(daemonSet)
		}
		return who.Create(c.ctx, daemonSet, client.DryRunAll)
	}
}

// ofPod edits the pods of a DaemonSet.
func ofPod(edit func(*corev1.PodSpec)) func(*appsv1.DaemonSet) {
	return func(d *appsv1.DaemonSet) { edit(&d.Spec.Template.Spec) }
}

// ofContainer edits the node plugin's container.
func ofContainer(edit func(*corev1.Container)) func(*appsv1.DaemonSet) {
	return ofPod(func(p *corev1.PodSpec) { edit(&p.Containers[0]) })
}

// hostPath adds a directory of the node, or a file.
func hostPath(path string) func(*appsv1.DaemonSet) {
	return ofPod(func(p *corev1.PodSpec) {
		p.Volumes = append(p.Volumes, corev1.Volume{Name: "more", VolumeSource: corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: path}}})
	})
}

func privileged(d *appsv1.DaemonSet) {
	d.Spec.Template.Spec.Containers[0].SecurityContext = &corev1.SecurityContext{Privileged: ptr.To(true), ReadOnlyRootFilesystem: ptr.To(true)}
}

func labelled(driver string) func(*appsv1.DaemonSet) {
	return func(d *appsv1.DaemonSet) {
		d.Name = "stolen"
		for _, labels := range []map[string]string{d.Labels, d.Spec.Template.Labels, d.Spec.Selector.MatchLabels} {
			labels[contract.DriverLabel] = driver
		}
		d.Spec.Template.Spec.ServiceAccountName = driver + "-node-plugin"
		d.Spec.Template.Spec.Containers[0].Args[0] = "--driver-name=" + driver
		directory := d.Spec.Template.Spec.Volumes[0].HostPath
		directory.Path = path.Join(path.Dir(directory.Path), driver)
	}
}

const (
	forNodePlugins  = "the operator may write DaemonSets of node plugins only"
	noHost          = "none of the host's process and IPC namespaces"
	noHostNetwork   = "the network of the node in classes with network Host only"
	ownAccount      = "their driver's own service account only"
	ownPrograms     = "the programs of node plugins only"
	noEnvironment   = "no environment variable of node plugins but NODE_NAME"
	securityContext = "the other security settings of node plugins only"
	volumeKinds     = "configuration and projected secrets as volumes only"
	noProviders     = "only in their container, read-only"
	otherImage      = "the operator may run no "
	otherDirectory  = "no directory of the node but those of the class"
	notPrivileged   = "privileged node plugins in classes of mode Bidirectional only"
	otherProfile    = "no profile, SELinux label or capability but those that spec.nodePlugin.confinement"
	otherSecret     = "no secrets but those of spec.credentials.secrets"
)

func TestTheOperatorMayWriteDaemonSetsOfNodePluginsOnly(t *testing.T) {
	c := newCluster(t)
	me := c.asOperator()
	c.Expect(c.create(driverName, "spec: {nodePlugin: {confinement: {dropCapabilities: [MKNOD], volumeSELinuxOptions: {type: files_t}}}}")).To(Succeed())
	plugin := c.rendered(driverName, nodeclass.Containerd)
	c.Eventually(c.tries(me, plugin), soon).Should(Succeed())
	for _, test := range []struct {
		what, words string
		edit        func(*appsv1.DaemonSet)
	}{
		{"no driver", forNodePlugins, func(d *appsv1.DaemonSet) { delete(d.Labels, contract.DriverLabel) }},
		{"no class", forNodePlugins + "|" + otherDirectory, func(d *appsv1.DaemonSet) { delete(d.Labels, contract.NodeClassLabel) }},
		{"pods of another driver", forNodePlugins + "|" + otherDirectory, func(d *appsv1.DaemonSet) { d.Labels[contract.DriverLabel] = "x" }},
		{"on every node", forNodePlugins, ofPod(func(p *corev1.PodSpec) { p.NodeSelector = nil })},
		{"on a node of choice", forNodePlugins, ofPod(func(p *corev1.PodSpec) { p.NodeName = "control-plane" })},
		{"host processes", noHost, ofPod(func(p *corev1.PodSpec) { p.HostPID = true })},
		{"host IPC", noHost, ofPod(func(p *corev1.PodSpec) { p.HostIPC = true })},
		{"host network", noHostNetwork, ofPod(func(p *corev1.PodSpec) { p.HostNetwork = true })},
		{"a user namespace", noHost, ofPod(func(p *corev1.PodSpec) { p.HostUsers = ptr.To(false) })},
		{"the operator's account", ownAccount, ofPod(func(p *corev1.PodSpec) { p.ServiceAccountName = "image-csi-operator" })},
		{"the default account", ownAccount, ofPod(func(p *corev1.PodSpec) { p.ServiceAccountName = "" })},
		{"a token", ownAccount, ofPod(func(p *corev1.PodSpec) { p.AutomountServiceAccountToken = nil })},
		{"an init container", ownPrograms, ofPod(func(p *corev1.PodSpec) { p.InitContainers = []corev1.Container{{Name: "x", Image: ownImage}} })},
		{"another container", ownPrograms, ofPod(func(p *corev1.PodSpec) {
			p.Containers = append(p.Containers, corev1.Container{Name: "x", Image: ownImage})
		})},
		{"another program", ownPrograms, ofContainer(func(c *corev1.Container) { c.Command = []string{"/credential-provider"} })},
		{"the image's program", ownPrograms, ofContainer(func(c *corev1.Container) { c.Command = nil })},
		{"another's socket", ownPrograms, ofContainer(func(c *corev1.Container) { c.Args = append(c.Args, "--driver-name=ebs.csi.aws.com") })},
		{"an argument in two words", ownPrograms, ofContainer(func(c *corev1.Container) { c.Args = append(c.Args, "--driver-name", "ebs.csi.aws.com") })},
		{"a proxy", noEnvironment, ofContainer(func(c *corev1.Container) {
			c.Env = append(c.Env, corev1.EnvVar{Name: "HTTPS_PROXY", Value: "http://evil.example"})
		})},
		{"the environment of a secret", noEnvironment, ofContainer(func(c *corev1.Container) {
			c.EnvFrom = []corev1.EnvFromSource{{SecretRef: &corev1.SecretEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: "x"}}}}
		})},
		{"a hook", noEnvironment, ofContainer(func(c *corev1.Container) {
			c.Lifecycle = &corev1.Lifecycle{PostStart: &corev1.LifecycleHandler{Exec: &corev1.ExecAction{Command: []string{"/x"}}}}
		})},
		{"another capability", securityContext, ofContainer(func(c *corev1.Container) {
			c.SecurityContext.Capabilities.Add = append(c.SecurityContext.Capabilities.Add, "SYS_MODULE")
		})},
		{"a capability that the driver drops", otherProfile, ofContainer(func(c *corev1.Container) {
			c.SecurityContext.Capabilities.Add = append(c.SecurityContext.Capabilities.Add, "MKNOD")
		})},
		{"another label of volumes", otherProfile, ofContainer(func(c *corev1.Container) {
			at := len(c.Args) - 1
			c.Args[at] = strings.Replace(c.Args[at], "volumeType=files_t", "volumeType=etc_t", 1)
		})},
		{"another category of volumes", otherProfile, ofContainer(func(c *corev1.Container) { c.Args[len(c.Args)-1] += ":c0.c1023" })},
		{"a record of a capability that the driver drops", otherProfile, func(d *appsv1.DaemonSet) {
			d.Annotations = map[string]string{contract.RolloutAnnotation: `{"good":{"spec":{"containers":[{"securityContext":{"capabilities":{"add":["SYS_ADMIN","MKNOD"],"drop":["ALL"]}}}]}}}`}
		}},
		{"the default capabilities", securityContext, ofContainer(func(c *corev1.Container) { c.SecurityContext.Capabilities.Drop = nil })},
		{"new privileges", securityContext, ofContainer(func(c *corev1.Container) { c.SecurityContext.AllowPrivilegeEscalation = nil })},
		{"no seccomp profile", securityContext + "|" + otherProfile, ofContainer(func(c *corev1.Container) {
			c.SecurityContext.SeccompProfile = &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeUnconfined}
		})},
		{"a writable root", securityContext, ofContainer(func(c *corev1.Container) { c.SecurityContext.ReadOnlyRootFilesystem = nil })},
		{"no security context", securityContext, ofContainer(func(c *corev1.Container) { c.SecurityContext = nil })},
		{"a sysctl", securityContext, ofPod(func(p *corev1.PodSpec) {
			p.SecurityContext = &corev1.PodSecurityContext{Sysctls: []corev1.Sysctl{{Name: "kernel.shm_rmid_forced", Value: "1"}}}
		})},
		{"a token of an account", volumeKinds + "|" + otherSecret, ofPod(func(p *corev1.PodSpec) {
			p.Volumes = append(p.Volumes, corev1.Volume{Name: "t", VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{
				Sources: []corev1.VolumeProjection{{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{Path: "token"}}}}}})
		})},
		{"a claim", volumeKinds, ofPod(func(p *corev1.PodSpec) {
			p.Volumes = append(p.Volumes, corev1.Volume{Name: "t", VolumeSource: corev1.VolumeSource{
				PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "x"}}})
		})},
		{"providers' programs with capabilities", noProviders, func(d *appsv1.DaemonSet) {
			d.Spec.Template.Spec.Containers[0].VolumeMounts = append(d.Spec.Template.Spec.Containers[0].VolumeMounts,
				corev1.VolumeMount{Name: "provider-programs", MountPath: "/usr/bin"})
			d.Spec.Template.Spec.Volumes = append(d.Spec.Template.Spec.Volumes,
				corev1.Volume{Name: "provider-programs", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}})
		}},
		{"another image", otherImage, ofContainer(func(c *corev1.Container) { c.Image = "evil.example/x" })},
		{"an image of the same start", otherImage, ofContainer(func(c *corev1.Container) { c.Image = ownImage + "1" })},
		{"the whole node", otherDirectory, hostPath("/")},
		{"other directories", otherDirectory, hostPath("/etc/kubernetes")},
		{"the kubelet's directory", otherDirectory, hostPath("/var/lib/kubelet")},
		{"the images", otherDirectory, hostPath("/var/lib/containerd")},
		{"another class's runtime", otherDirectory, hostPath("/run/crio")},
		{"two paths in one", volumeKinds + "|" + otherDirectory, hostPath(`/x","hostPath":{"path":"/run/containerd`)},
		{"all privileges", notPrivileged, privileged},
		{"a secret", otherSecret, ofPod(func(p *corev1.PodSpec) {
			p.Volumes = append(p.Volumes, corev1.Volume{Name: "t", VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{
				Sources: []corev1.VolumeProjection{{Secret: &corev1.SecretProjection{LocalObjectReference: corev1.LocalObjectReference{Name: "x"}}}}}}})
		})},
		{"a record of an evil image", otherImage, func(d *appsv1.DaemonSet) {
			d.Annotations = map[string]string{contract.RolloutAnnotation: `{"good":{"spec":{"containers":[{"name":"node-plugin","image":"evil.example/x"}]}}}`}
		}},
		{"a record of the whole node", otherDirectory, func(d *appsv1.DaemonSet) {
			d.Annotations = map[string]string{contract.RolloutAnnotation: `{"good":{"spec":{"volumes":[{"name":"runtime","hostPath":{"path":"/","type":""}}]}}}`}
		}},
		{"another AppArmor profile", otherProfile, ofContainer(func(c *corev1.Container) {
			c.SecurityContext.AppArmorProfile = &corev1.AppArmorProfile{Type: corev1.AppArmorProfileTypeLocalhost, LocalhostProfile: ptr.To("evil")}
		})},
		{"two AppArmor profiles in one", securityContext + "|" + otherProfile, ofContainer(func(c *corev1.Container) {
			c.SecurityContext.AppArmorProfile = &corev1.AppArmorProfile{Type: corev1.AppArmorProfileTypeLocalhost, LocalhostProfile: ptr.To(`x"},"appArmorProfile":{"type":"Unconfined"}`)}
		})},
		{"another SELinux type", otherProfile, ofContainer(func(c *corev1.Container) { c.SecurityContext.SELinuxOptions.Type = "unconfined_t" })},
		{"another SELinux level", otherProfile, ofContainer(func(c *corev1.Container) { c.SecurityContext.SELinuxOptions.Level = "s0:c0.c1023" })},
		{"another SELinux role", securityContext, ofContainer(func(c *corev1.Container) { c.SecurityContext.SELinuxOptions.Role = "unconfined_r" })},
		{"another seccomp profile", otherProfile, ofContainer(func(c *corev1.Container) {
			c.SecurityContext.SeccompProfile = &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeLocalhost, LocalhostProfile: ptr.To("evil.json")}
		})},
		{"a record of another SELinux type", otherProfile, func(d *appsv1.DaemonSet) {
			d.Annotations = map[string]string{contract.RolloutAnnotation: `{"good":{"spec":{"containers":[{"securityContext":{"seLinuxOptions":{"type":"unconfined_t","level":"s0"}}}]}}}`}
		}},
		{"a record of the host network", noHostNetwork, func(d *appsv1.DaemonSet) {
			d.Annotations = map[string]string{contract.RolloutAnnotation: `{"good":{"spec":{"hostNetwork":true}}}`}
		}},
		{"a record of all privileges", notPrivileged, func(d *appsv1.DaemonSet) {
			d.Annotations = map[string]string{contract.RolloutAnnotation: `{"good":{"spec":{"containers":[{"securityContext":{"privileged":true}}]}}}`}
		}},
	} {
		if test.what == "a user namespace" && !c.serves(render.ServedField{Since: "1.33"}) {
			continue // An older API server drops the field.
		}
		t.Run(test.what, func(t *testing.T) {
			g := NewWithT(t)
			// Two policies may refuse it, and the API server tells one.
			words, orWords, _ := strings.Cut(test.words, "|")
			g.Expect(c.tries(me, plugin, test.edit)()).To(MatchError(Or(ContainSubstring(words), ContainSubstring(cmp.Or(orWords, words)))))
			g.Expect(c.tries(c.Client, plugin, test.edit)()).To(Succeed(), "the administrator is held, too, or the API server takes it from nobody")
		})
	}
	elsewhere := plugin.DeepCopy()
	elsewhere.Namespace = "default"
	c.Expect(c.tries(me, elsewhere)()).To(MatchError(ContainSubstring("is forbidden: User")))
}

// The namespace of the node plugins names that of the operator. An account of the operator's name elsewhere is held, whatever rights
// somebody gave it.
func TestOnlyTheOperatorOfANamespaceMayWriteNodePluginsThere(t *testing.T) {
	c := newCluster(t)
	me := c.asOperator()
	c.Expect(c.create(driverName, "spec: {nestedSandboxes: {}}")).To(Succeed())
	plugin := c.rendered(driverName, nodeclass.Containerd)
	c.Eventually(c.tries(me, plugin), soon).Should(Succeed())
	probe := c.probeSet(driverName)
	c.Eventually(c.tries(me, probe), soon).Should(Succeed())
	const stranger = "system:serviceaccount:tenant:image-csi-operator"
	writes := rbacv1.PolicyRule{APIGroups: []string{"apps"}, Resources: []string{"daemonsets"}, Verbs: []string{"create"}}
	c.grant("strangers-node-plugins", stranger, writes)
	c.refuses("namespace "+namespace+" is for the node plugins of system:serviceaccount:"+operatorNamespace+":image-csi-operator, and not of "+stranger+
		": kubectl annotate --overwrite namespace "+namespace+" imagecsi.dev/operator-namespace=tenant", c.tries(c.as(stranger), plugin))
	const probesToo = "the operator may write DaemonSets in the namespace of its node plugins only"
	c.refuses(probesToo, c.tries(c.as(stranger), probe))

	// Without the annotation the operator is in the namespace of its node plugins.
	c.grant("operators-node-plugins", c.server.operator.Impersonate.UserName, writes)
	c.Expect(c.Patch(c.ctx, c.namespace("plugins"), mergePatch(`{"metadata":{"annotations":{"imagecsi.dev/node-plugin-image":"`+ownImage+`"}}}`))).To(Succeed())
	elsewhere := plugin.DeepCopy()
	elsewhere.Namespace = "plugins"
	c.refuses("namespace plugins is for the node plugins of system:serviceaccount:plugins:image-csi-operator", c.tries(me, elsewhere))
	probe.Namespace = elsewhere.Namespace
	c.refuses(probesToo, c.tries(me, probe))
}

// What the operator renders, for all that a driver may ask for.
func TestTheOperatorMayWriteEveryDaemonSetThatItRenders(t *testing.T) {
	c := newCluster(t)
	me := c.asOperator()
	const custom = `spec: {nodePlugin: {image: "mirror.example/plugin:v9", confinement: {seccompProfile: {type: Localhost, localhostProfile: a/b.json},
		appArmorProfile: {type: Localhost, localhostProfile: ours}, seLinuxOptions: {type: own_t, level: "s0:c1,c2"},
		dropCapabilities: [SETFCAP], volumeSELinuxOptions: {type: files_t}}}, credentials: {secrets: [{name: one}, {name: two}],
		providers: {configPath: /data/providers.yaml, binDir: /data/providers}},
		nodeClasses: [{name: containerd, kubeletRoot: /data/kubelet, mountMode: Bidirectional, storageRoot: /data/containerd},
		{name: crio, runRoot: /data/run, imageStore: /data/images, additionalImageStores: [/mnt/a, /mnt/b]},
		{name: gpu, mountMode: Nsenter, network: Host, runtimeEndpoint: "unix:///run/mine/c.sock", match: {runtime: containerd}},
		{name: openshift, mountMode: Nsenter, network: Host, confinement: {appArmorProfile: {type: Unconfined}, seLinuxOptions: {type: other_t}, seccompProfile: {type: RuntimeDefault},
		dropCapabilities: [], volumeSELinuxOptions: {type: others_t, level: "s0:c1"}}},
		{name: red, mountMode: Bidirectional, runtimeEndpoint: "unix:///run/red/c.sock", match: {runtime: cri-o}}]}`
	long := strings.Repeat("a", 48) + ".example.com" // whose names are cut
	for name, spec := range map[string]string{"plain.example.com": "spec: {}", "custom.example.com": custom, long: "spec: {}"} {
		c.Expect(c.create(name, spec)).To(Succeed())
		classes := nodeclass.Names()
		if spec == custom {
			classes = append(classes, "gpu", "red")
		}
		for _, class := range classes {
			c.Eventually(c.tries(me, c.rendered(name, class)), soon).Should(Succeed(), name+" "+class)
		}
		c.Expect(c.Delete(c.ctx, &v1alpha1.ImageCSIDriver{ObjectMeta: metav1.ObjectMeta{Name: name}})).To(Succeed())
	}
}

// A DaemonSet's driver may not exist. Then what every driver allows is what it gets.
func TestADaemonSetOfNoDriverHasNothingThatTheDriversHaveNot(t *testing.T) {
	c := newCluster(t)
	me := c.asOperator()
	c.Expect(c.create(driverName, "spec: {nodeClasses: [{name: k0s, kubeletRoot: /data/kubelet}]}")).To(Succeed())
	plugin := c.rendered(driverName, nodeclass.Containerd)
	c.Eventually(c.tries(me, plugin, labelled("none.example.com")), soon).Should(Succeed())
	for words, edit := range map[string]func(*appsv1.DaemonSet){
		otherImage:     ofContainer(func(c *corev1.Container) { c.Image = "evil.example/x" }),
		otherDirectory: hostPath("/data"),
		notPrivileged:  privileged,
		noHostNetwork:  ofPod(func(p *corev1.PodSpec) { p.HostNetwork = true }),
	} {
		c.Expect(c.tries(me, plugin, labelled("none.example.com"), edit)()).To(MatchError(ContainSubstring(words)))
	}
	providers := c.rendered(driverName, nodeclass.Containerd)
	providers.Spec.Template.Spec.Volumes = append(providers.Spec.Template.Spec.Volumes, corev1.Volume{Name: "provider-programs",
		VolumeSource: corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/var/lib/kubelet/pods"}}})
	c.Expect(c.tries(me, providers, labelled("none.example.com"))()).To(MatchError(ContainSubstring(otherDirectory)))

	c.Expect(c.Delete(c.ctx, &v1alpha1.ImageCSIDriver{ObjectMeta: metav1.ObjectMeta{Name: driverName}})).To(Succeed())
	c.Eventually(c.tries(me, plugin), soon).Should(MatchError(ContainSubstring("no params found")))
}

// A driver may be deleted by force, and leaves its objects.
func TestWhatADriverLeavesBehindCanBeChangedByOthers(t *testing.T) {
	c := newCluster(t)
	c.Expect(c.create(driverName, "spec: {}")).To(Succeed())
	left, csi := c.rendered(driverName, nodeclass.Containerd), csiDriver(driverName)
	csi.Labels = map[string]string{contract.DriverLabel: driverName}
	for _, object := range []client.Object{left, csi} {
		c.Eventually(func() error { return c.Create(c.ctx, object) }, soon).Should(Succeed())
	}
	c.Expect(c.Delete(c.ctx, &v1alpha1.ImageCSIDriver{ObjectMeta: metav1.ObjectMeta{Name: driverName}})).To(Succeed())
	c.Eventually(c.tries(c.asOperator(), left), soon).Should(MatchError(ContainSubstring("no params found")))
	for _, object := range []client.Object{left, csi} {
		c.Expect(c.Patch(c.ctx, object, mergePatch(`{"metadata": {"finalizers": ["example.com/x"]}}`))).To(Succeed())
		c.Expect(c.Patch(c.ctx, object, mergePatch(`{"metadata": {"finalizers": null, "labels": null}}`))).To(Succeed())
		c.Expect(c.Delete(c.ctx, object)).To(Succeed())
	}
}

// A rollback writes what the spec does not have any more. What others changed is not the operator's doing.
func TestTheOperatorMayWriteWhatADaemonSetHadBefore(t *testing.T) {
	c := newCluster(t)
	me := c.asOperator()
	c.Expect(c.create(driverName, `spec: {nodePlugin: {image: "example.com/first:1"}, nodeClasses: [{name: crio, storageRoot: /data/one}]}`)).To(Succeed())
	first := c.rendered(driverName, nodeclass.CRIO)
	c.Eventually(func() error { return me.Create(c.ctx, first.DeepCopy()) }, soon).Should(Succeed())
	c.changeDriver(driverName, func(d *v1alpha1.ImageCSIDriver) {
		d.Spec.NodePlugin.Image, d.Spec.NodeClasses[0].StorageRoot = "example.com/second:2", "/data/two"
	})
	second := c.rendered(driverName, nodeclass.CRIO)
	update := func(to *appsv1.DaemonSet, edits ...func(*appsv1.DaemonSet)) func() error {
		return func() error {
			live := &appsv1.DaemonSet{}
			c.Expect(c.Get(c.ctx, client.ObjectKeyFromObject(to), live)).To(Succeed())
			next := to.DeepCopy()
			for _, edit := range edits {
				edit(next)
			}
			base := live.DeepCopy()
			live.Annotations, live.Spec.Template = next.Annotations, next.Spec.Template
			return me.Patch(c.ctx, live, client.MergeFrom(base))
		}
	}
	record := func(text string) func(*appsv1.DaemonSet) {
		return func(d *appsv1.DaemonSet) { d.Annotations = map[string]string{contract.RolloutAnnotation: text} }
	}
	const good = `{"good":{"spec":{"containers":[{"name":"node-plugin","image":"example.com/first:1"}],"volumes":[{"name":"storage","hostPath":{"path":"/data/one","type":"Directory"}}]}}}`
	c.Expect(update(second, record(strings.Replace(good, "example.com/first:1", "evil.example/x", 1)))()).To(MatchError(ContainSubstring(otherImage)))
	c.Eventually(update(second, record(good)), soon).Should(Succeed())
	c.Expect(update(second, record(good), ofContainer(func(c *corev1.Container) { c.Image = "example.com/third:3" }))()).To(MatchError(ContainSubstring(otherImage)))
	c.Expect(update(first, record(good))()).To(Succeed(), "the rollback")
	c.Expect(update(second, record("{}"))()).To(Succeed())
	c.Expect(update(first, record(good))()).To(MatchError(ContainSubstring(otherImage)), "it is forgotten")

	theirs := &appsv1.DaemonSet{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: first.Name}}
	c.Expect(c.Patch(c.ctx, theirs, client.RawPatch("application/strategic-merge-patch+json", []byte(
		`{"spec": {"template": {"spec": {"hostPID": true, "containers": [{"name": "theirs", "image": "example.com/theirs"}]}}}}`)))).To(Succeed())
	c.Expect(me.Patch(c.ctx, theirs.DeepCopy(), mergePatch(`{"metadata": {"annotations": {"imagecsi.dev/rollout": "{}"}}}`), client.DryRunAll)).To(Succeed())
	c.Expect(me.Patch(c.ctx, theirs.DeepCopy(), mergePatch(`{"spec": {"template": {"spec": {"hostNetwork": true}}}}`), client.DryRunAll)).
		To(MatchError(ContainSubstring(noHostNetwork)))
}

func TestTheOperatorMayChangeNoObjectOfOthersInTheNodePluginsNamespace(t *testing.T) {
	c := newCluster(t)
	me := c.asOperator()
	c.Expect(c.create(driverName, "spec: {}")).To(Succeed())
	theirs := c.rendered(driverName, nodeclass.Containerd)
	theirs.Name, theirs.Labels = "theirs", nil
	privileged(theirs)
	theirs.Spec.Template.Spec.HostPID = true
	config := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "theirs"}}
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "theirs"}}
	for _, object := range []client.Object{theirs, config, account} {
		c.Expect(c.Create(c.ctx, object)).To(Succeed())
		c.Cleanup(func() { c.Expect(c.Delete(context.Background(), object)).To(Succeed()) })
	}
	for _, object := range []client.Object{theirs, config, account} {
		try := object.DeepCopyObject().(client.Object)
		words := "may change and delete only what is its own"
		if object == client.Object(theirs) {
			words = "the operator may " // Two policies refuse it, and the API server tells one.
		}
		for _, text := range []string{`{"metadata": {"labels": {"imagecsi.dev/driver": "` + driverName + `"}}}`, `{"metadata": {"annotations": {"x": "y"}}}`} {
			c.refuses(words, func() error { return me.Patch(c.ctx, try, mergePatch(text), client.DryRunAll) })
		}
		c.refuses("may change and delete only what is its own", func() error { return me.Delete(c.ctx, try, client.DryRunAll) })
	}
}

func TestTheOperatorMayCreateVolumesOfClaimsOnly(t *testing.T) {
	c := newCluster(t)
	me := c.asOperator()
	ours, theirs := csiDriver("ours.example.com"), csiDriver("theirs.example.com")
	ours.Labels = map[string]string{contract.DriverLabel: "ours.example.com"}
	c.Expect(c.create("ours.example.com", "spec: {}")).To(Succeed())
	c.Eventually(func() error { return c.Create(c.ctx, ours) }, soon).Should(Succeed())
	c.Expect(c.Create(c.ctx, theirs)).To(Succeed())
	volume := func(edits ...func(*corev1.PersistentVolumeSpec)) func() error {
		return func() error {
			object := persistentVolume("pvc-1", "ours.example.com", "pvc-1", image("busybox"))
			object.Spec.CSI.ReadOnly = true
			object.Spec.CSI.NodePublishSecretRef = &corev1.SecretReference{Namespace: "tenant", Name: "registry"}
			object.Spec.ClaimRef = &corev1.ObjectReference{Kind: "PersistentVolumeClaim", Namespace: "tenant", Name: "data", UID: "1"}
			for _, edit := range edits {
				edit(&object.Spec)
			}
			return me.Create(c.ctx, object, client.DryRunAll)
		}
	}
	const onlyCSI, onlyClaims, onlySecret, ownSecrets = "volumes of CSI drivers only", "volumes of claims only", "no secret of a volume but", "may name a secret of that namespace only"
	source := func(source corev1.PersistentVolumeSource) func(*corev1.PersistentVolumeSpec) {
		return func(s *corev1.PersistentVolumeSpec) { s.PersistentVolumeSource = source }
	}
	other := &corev1.SecretReference{Namespace: "another", Name: "registry"}
	for _, test := range []struct {
		words string
		edit  func(*corev1.PersistentVolumeSpec)
	}{
		{onlyCSI, source(corev1.PersistentVolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/etc"}})},
		{onlyCSI, source(corev1.PersistentVolumeSource{NFS: &corev1.NFSVolumeSource{Server: "x", Path: "/"}})},
		{onlyCSI, func(s *corev1.PersistentVolumeSpec) { s.CSI.ReadOnly = false }},
		{onlyCSI, func(s *corev1.PersistentVolumeSpec) { s.CSI.VolumeHandle = "vol-of-another" }},
		{onlyClaims, func(s *corev1.PersistentVolumeSpec) { s.ClaimRef = nil }},
		{onlyClaims, func(s *corev1.PersistentVolumeSpec) { s.ClaimRef.UID = "" }},
		{onlySecret, func(s *corev1.PersistentVolumeSpec) { s.CSI.NodeStageSecretRef = other }},
		{onlySecret, func(s *corev1.PersistentVolumeSpec) { s.CSI.ControllerPublishSecretRef = other }},
		{ownSecrets, func(s *corev1.PersistentVolumeSpec) { s.CSI.NodePublishSecretRef = other }},
		{"CSIDriver theirs.example.com is not one of them", func(s *corev1.PersistentVolumeSpec) { s.CSI.Driver = "theirs.example.com" }},
	} {
		c.refuses(test.words, volume(test.edit))
	}
	c.Expect(volume()()).To(Succeed())
	c.Expect(volume(func(s *corev1.PersistentVolumeSpec) { s.CSI.NodePublishSecretRef = nil })()).To(Succeed())
	c.grant("uses-secrets", c.server.operator.Impersonate.UserName, rbacv1.PolicyRule{APIGroups: []string{""}, Resources: []string{"secrets"},
		ResourceNames: []string{"registry"}, Verbs: []string{"use"}})
	c.Eventually(volume(func(s *corev1.PersistentVolumeSpec) { s.CSI.NodePublishSecretRef = other }), soon).Should(Succeed())
}

func TestTheOperatorMayCreateCSIDriversOfItsDriversNamesOnly(t *testing.T) {
	c := newCluster(t)
	me := c.asOperator()
	c.Expect(c.create("ours.example.com", `spec: {aliases: [alias.example.com], credentials: {providers: {configPath: /etc/p, binDir: /opt/p, tokenAudiences: [registry]}}}`)).To(Succeed())
	try := func(name, driver string, audiences ...string) func() error {
		object := csiDriver(name)
		if driver != "" {
			object.Labels = map[string]string{contract.DriverLabel: driver}
		}
		for _, audience := range audiences {
			object.Spec.TokenRequests = append(object.Spec.TokenRequests, storagev1.TokenRequest{Audience: audience})
		}
		return func() error { return me.Create(c.ctx, object.DeepCopy(), client.DryRunAll) }
	}
	c.refuses("with the label imagecsi.dev/driver only", try("ours.example.com", ""))
	c.refuses("own name and its aliases only", try("ebs.csi.aws.com", "ours.example.com"))
	c.refuses("own name and its aliases only", try("ours.example.com", "another.example.com"))
	c.refuses("for the audiences of ImageCSIDriver ours.example.com only", try("ours.example.com", "ours.example.com", "https://kubernetes.default.svc"))
	c.Expect(try("ours.example.com", "ours.example.com", "registry")()).To(Succeed())
	c.Expect(try("alias.example.com", "ours.example.com")()).To(Succeed())
}

func TestTheOperatorMayChangeNoSpecOfADriver(t *testing.T) {
	c := newCluster(t)
	me := c.asOperator()
	c.Expect(c.create(driverName, "spec: {}")).To(Succeed())
	driver := &v1alpha1.ImageCSIDriver{ObjectMeta: metav1.ObjectMeta{Name: driverName}}
	for _, text := range []string{
		`{"spec": {"nodePlugin": {"logLevel": "Debug"}}}`,
		`{"metadata": {"labels": {"x": "y"}}}`,
		`{"metadata": {"annotations": {"x": "y"}}}`,
		`{"metadata": {"finalizers": ["example.com/stay"]}}`,
	} {
		c.refuses("the finalizer imagecsi.dev/cleanup of an ImageCSIDriver only", func() error { return me.Patch(c.ctx, driver.DeepCopy(), mergePatch(text), client.DryRunAll) })
	}
	// The API server tells one of the two policies that refuse it.
	evil := mergePatch(`{"spec": {"nodePlugin": {"image": "evil.example/x"}}}`)
	c.Expect(me.Patch(c.ctx, driver.DeepCopy(), evil, client.DryRunAll)).To(MatchError(Or(ContainSubstring("imagecsi.dev/cleanup"), ContainSubstring("the verb escalate"))))
	c.Expect(me.Patch(c.ctx, driver.DeepCopy(), mergePatch(`{"metadata": {"finalizers": ["imagecsi.dev/cleanup"]}}`), client.DryRunAll)).To(Succeed())
}

func TestTheOperatorMayGrantConstraintsToNodePluginsOnly(t *testing.T) {
	c := newCluster(t)
	c.installKinds()
	me := c.asOperator()
	c.Expect(c.create(driverName, "spec: {}")).To(Succeed())
	constraints := func(edit map[string]any) func() error {
		object := optionalObjects()["SecurityContextConstraints"]
		object.SetName("stolen")
		object.SetLabels(map[string]string{contract.DriverLabel: driverName})
		object.Object["users"] = []any{"system:serviceaccount:" + namespace + ":" + render.ServiceAccountName(driverName)}
		object.Object["groups"] = []any{}
		for field, value := range edit {
			object.Object[field] = value
		}
		return func() error { return me.Create(c.ctx, object.DeepCopy(), client.DryRunAll) }
	}
	c.Eventually(constraints(nil), soon).Should(Succeed())
	const accounts, host = "to the service accounts of node plugins only", "none of the host's process and IPC namespaces and ports"
	c.refuses(accounts, constraints(map[string]any{"users": []any{"system:serviceaccount:tenant:default"}}))
	c.refuses(accounts, constraints(map[string]any{"users": []any{"system:serviceaccount:" + namespace + ":image-csi-operator"}}))
	c.refuses(accounts, constraints(map[string]any{"users": []any{"system:serviceaccount:" + namespace + ":a-node-plugin", "system:serviceaccount:tenant:a-node-plugin"}}))
	c.refuses(accounts, constraints(map[string]any{"users": []any{"admin"}}))
	for _, elsewhere := range []string{"tenant", operatorNamespace} {
		c.refuses("in the namespace of its node plugins only", constraints(map[string]any{"users": []any{"system:serviceaccount:" + elsewhere + ":a-node-plugin"}}))
	}
	c.Expect(constraints(map[string]any{"users": []any{}})()).To(Succeed())
	c.refuses(accounts, constraints(map[string]any{"groups": []any{"system:authenticated"}}))
	for _, field := range []string{"allowHostPID", "allowHostIPC", "allowHostPorts"} {
		c.refuses(host, constraints(map[string]any{field: true}))
	}

	network := constraints(map[string]any{"allowHostNetwork": true})
	c.refuses("ImageCSIDriver "+driverName+" has none in spec.nodeClasses", network)
	c.changeDriver(driverName, func(d *v1alpha1.ImageCSIDriver) {
		d.Spec.NodeClasses = []v1alpha1.NodeClass{{Name: nodeclass.OpenShift, Network: v1alpha1.NetworkHost}}
	})
	c.Eventually(network, soon).Should(Succeed())
	c.Expect(c.create("another.example.com", "spec: {}")).To(Succeed())
	c.refuses("ImageCSIDriver another.example.com has none in spec.nodeClasses", network)
	for _, name := range []string{driverName, "another.example.com"} {
		c.Expect(c.Delete(c.ctx, &v1alpha1.ImageCSIDriver{ObjectMeta: metav1.ObjectMeta{Name: name}})).To(Succeed())
	}
	c.Eventually(constraints(nil), soon).Should(MatchError(ContainSubstring("no params found")))
}

// What RBAC alone keeps from the operator: each line is a verb, a resource, and where.
func TestTheOperatorHasNoRightToWhatAThiefWouldWant(t *testing.T) {
	c := newCluster(t)
	allowed := func(verb, group, resource, subresource, in, name string) bool {
		review := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
			User: c.server.operator.Impersonate.UserName, Groups: []string{"system:serviceaccounts", "system:serviceaccounts:" + operatorNamespace, "system:authenticated"},
			ResourceAttributes: &authorizationv1.ResourceAttributes{Verb: verb, Group: group, Resource: resource, Subresource: subresource, Namespace: in, Name: name}}}
		c.Expect(c.Create(c.ctx, review)).To(Succeed())
		return review.Status.Allowed
	}
	const rbac, admission, apps, driverGroup = rbacv1.GroupName, "admissionregistration.k8s.io", "apps", "storage.imagecsi.dev"
	for _, wish := range []struct{ verbs, group, resource, subresource, in, name string }{
		{"get list watch create update patch delete", "", "secrets", "", "default", ""},
		{"get list watch create update patch delete use", "", "secrets", "", namespace, ""},
		{"create update patch", "", "pods", "", namespace, ""},
		{"create update patch delete", "", "pods", "", "default", ""},
		{"create get", "", "pods", "exec", namespace, ""},
		{"create get", "", "pods", "attach", namespace, ""},
		{"create get", "", "pods", "portforward", namespace, ""},
		{"create get", "", "pods", "proxy", namespace, ""},
		{"get", "", "pods", "log", namespace, ""},
		{"update patch", "", "pods", "ephemeralcontainers", namespace, ""},
		{"create", "", "pods", "binding", namespace, ""},
		{"create", "", "pods", "eviction", "default", ""},
		{"create", "", "serviceaccounts", "token", namespace, "image-csi-operator"},
		{"create", "", "serviceaccounts", "token", operatorNamespace, "image-csi-operator"},
		{"get list watch create update patch delete use", "", "secrets", "", operatorNamespace, ""},
		{"create update patch delete", "", "pods", "", operatorNamespace, ""},
		{"create update patch delete", "", "serviceaccounts", "", operatorNamespace, ""},
		{"create update patch delete", "", "configmaps", "", operatorNamespace, ""},
		{"create update patch delete", apps, "daemonsets", "", operatorNamespace, ""},
		{"create update patch delete", apps, "deployments", "", operatorNamespace, ""},
		{"create update patch delete", rbac, "rolebindings", "", operatorNamespace, ""},
		{"create update patch delete", "", "namespaces", "", "", operatorNamespace},
		{"create", "", "serviceaccounts", "token", "kube-system", "default"},
		{"create patch delete", "", "serviceaccounts", "", "default", ""},
		{"create patch delete", "", "configmaps", "", "kube-system", ""},
		{"create update delete", "", "nodes", "", "", ""},
		{"get create", "", "nodes", "proxy", "", ""},
		{"update patch", "", "nodes", "status", "", ""},
		{"create update patch delete", "", "namespaces", "", "", namespace},
		{"update patch", "", "persistentvolumes", "", "", ""},
		{"impersonate", "", "users", "", "", "admin"},
		{"impersonate", "", "groups", "", "", "system:masters"},
		{"impersonate", "", "serviceaccounts", "", "kube-system", "default"},
		{"create update patch delete bind escalate", rbac, "roles", "", namespace, ""},
		{"create update patch delete bind escalate", rbac, "clusterroles", "", "", ""},
		{"create update patch delete", rbac, "rolebindings", "", namespace, ""},
		{"create update patch delete", rbac, "clusterrolebindings", "", "", ""},
		{"create update patch delete", admission, "validatingadmissionpolicies", "", "", "image-csi-operator-daemonsets"},
		{"create update patch delete", admission, "validatingadmissionpolicybindings", "", "", "image-csi-operator-daemonsets"},
		{"create update patch delete", admission, "mutatingadmissionpolicies", "", "", "x"},
		{"create update patch delete", admission, "validatingwebhookconfigurations", "", "", "x"},
		{"create update patch delete", admission, "mutatingwebhookconfigurations", "", "", "x"},
		{"create update patch delete", apps, "deployments", "", namespace, "image-csi-operator"},
		{"create update patch delete", apps, "daemonsets", "", "default", ""},
		{"create update delete escalate", driverGroup, "imagecsidrivers", "", "", ""},
		{"create update patch delete", "apiextensions.k8s.io", "customresourcedefinitions", "", "", ""},
		{"create update patch delete", "storage.k8s.io", "storageclasses", "", "", ""},
		{"create update patch delete", "storage.k8s.io", "csinodes", "", "", ""},
		{"create update patch approve sign", "certificates.k8s.io", "certificatesigningrequests", "", "", ""},
		{"use", "security.openshift.io", "securitycontextconstraints", "", "", "privileged"},
	} {
		for _, verb := range strings.Fields(wish.verbs) {
			if allowed(verb, wish.group, wish.resource, wish.subresource, wish.in, wish.name) {
				t.Errorf("the operator may %s %s/%s in %q", verb, wish.resource, wish.subresource, wish.in)
			}
		}
	}
	if !allowed("create", apps, "daemonsets", "", namespace, "") || !allowed("patch", "", "nodes", "", "", "one") {
		t.Error("the operator lacks its own rights, so the list shows nothing")
	}
}
