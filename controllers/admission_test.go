package controllers_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/rest"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/image-csi/image-csi-operator/api/v1alpha1"
	"github.com/image-csi/image-csi-operator/controllers"
	"github.com/image-csi/image-csi-operator/internal/contract"
	"github.com/image-csi/image-csi-operator/internal/operator/render"
)

// admissionPolicies are what config/admission installs, for all tests: the operator has to work under them.
func admissionPolicies(admin *rest.Config, dir string) error {
	c, err := client.New(admin, client.Options{})
	if err != nil {
		return err
	}
	text, err := os.ReadFile(filepath.Join(dir, "kustomization.yaml"))
	if err != nil {
		return err
	}
	var list struct{ Resources []string }
	if err := yaml.UnmarshalStrict(text, &list); err != nil {
		return err
	}
	for _, file := range list.Resources {
		if err := createAll(c, filepath.Join(dir, file)); err != nil {
			return err
		}
	}
	return nil
}

// policiesKnowDrivers waits until the API server watches ImageCSIDrivers for its admission policies. Until then it refuses whatever a
// policy with such a parameter judges.
func policiesKnowDrivers(operator *rest.Config) error {
	c, err := client.New(operator, client.Options{})
	if err != nil {
		return err
	}
	labels := map[string]string{contract.DriverLabel: driverName}
	daemonSet := &appsv1.DaemonSet{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "none", Labels: labels}}
	daemonSet.Spec.Selector = &metav1.LabelSelector{MatchLabels: labels}
	daemonSet.Spec.Template = corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "i"}}}}
	return wait.PollUntilContextTimeout(context.Background(), 50*time.Millisecond, soon, true, func(ctx context.Context) (bool, error) {
		err := c.Create(ctx, daemonSet.DeepCopy(), client.DryRunAll)
		return err != nil && !strings.Contains(err.Error(), "not yet synced"), nil
	})
}

// as returns the server as somebody else sees it.
func (c *cluster) as(user string, groups ...string) client.Client {
	c.Helper()
	config := rest.CopyConfig(c.server.admin)
	config.Impersonate = rest.ImpersonationConfig{UserName: user, Groups: groups}
	other, err := client.New(config, client.Options{Scheme: c.Scheme()})
	c.Expect(err).NotTo(HaveOccurred())
	return other
}

// asOperator has the operator's rights and no more.
func (c *cluster) asOperator() client.Client {
	c.Helper()
	return c.as(c.server.operator.Impersonate.UserName)
}

func mergePatch(text string) client.Patch { return client.RawPatch(types.MergePatchType, []byte(text)) }

// refuses wants an admission policy to answer with some words. Policies reach the server's admission a moment after
// they were created, so a try must change nothing.
func (c *cluster) refuses(words string, try func() error) {
	c.Helper()
	c.Eventually(try, 10*time.Second, 50*time.Millisecond).Should(MatchError(ContainSubstring(words)))
}

func TestTheOperatorMayChangeNothingOfANodeButWhatIsItsOwn(t *testing.T) {
	c := newCluster(t)
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "guarded", Labels: map[string]string{"team": "a"}, Annotations: map[string]string{"note": "x"}},
		Spec: corev1.NodeSpec{Taints: []corev1.Taint{{Key: "dedicated", Effect: corev1.TaintEffectNoSchedule}}}}
	c.Expect(c.Create(c.ctx, node)).To(Succeed())
	me := c.asOperator()
	patch := func(text string, options ...client.PatchOption) error {
		return me.Patch(c.ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: node.Name}}, mergePatch(text), options...)
	}
	const labels, annotations, taints, spec = "node labels under imagecsi.dev/", "node annotations under imagecsi.dev/", "taints under imagecsi.dev/", "nothing in a node's spec"
	for text, words := range map[string]string{
		`{"metadata": {"labels": {"team": "b"}}}`:                                                            labels,
		`{"metadata": {"labels": {"team": null}}}`:                                                           labels,
		`{"metadata": {"labels": {"node-role.kubernetes.io/control-plane": ""}}}`:                            labels,
		`{"metadata": {"labels": {"imagecsi.dev.node-restriction.kubernetes.io/sandboxes": "podman"}}}`:      labels,
		`{"metadata": {"labels": {"imagecsi.dev.node-restriction.kubernetes.io/x": "bubblewrap"}}}`:          labels,
		`{"metadata": {"labels": {"notimagecsi.dev/x": ""}}}`:                                                labels,
		`{"metadata": {"annotations": {"note": "y"}}}`:                                                       annotations,
		`{"metadata": {"annotations": {"other": "y"}}}`:                                                      annotations,
		`{"metadata": {"finalizers": ["example.com/stay"]}}`:                                                 spec,
		`{"metadata": {"ownerReferences": [{"apiVersion": "v1", "kind": "Node", "name": "x", "uid": "x"}]}}`: spec,
		`{"spec": {"taints": null}}`:                                                                         taints,
		`{"spec": {"taints": [{"key": "dedicated", "effect": "NoExecute"}]}}`:                                taints,
		`{"spec": {"unschedulable": true}}`:                                                                  spec,
		`{"spec": {"podCIDR": "10.0.0.0/24", "podCIDRs": ["10.0.0.0/24"]}}`:                                  spec,
		`{"spec": {"providerID": "x://y"}}`:                                                                  spec,
	} {
		c.refuses(words, func() error { return patch(text, client.DryRunAll) })
	}
	// RBAC keeps the operator from these before the policy is asked, so somebody gives it the right by mistake.
	c.mayChangeNodesWhole(c.server.operator.Impersonate.UserName)
	const parts = "no status or other part of them"
	c.refuses(parts, func() error {
		return me.Status().Patch(c.ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: node.Name}}, mergePatch(`{"status": {"capacity": {"cpu": "9"}}}`), client.DryRunAll)
	})
	c.refuses(parts, func() error {
		return me.Create(c.ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "another"}}, client.DryRunAll)
	})
	for _, text := range []string{
		`{"metadata": {"labels": {"imagecsi.dev/node-class": "containerd"}, "annotations": {"imagecsi.dev/x": "y"}}}`,
		`{"metadata": {"labels": {"imagecsi.dev/node-class": null}, "annotations": {"imagecsi.dev/x": null}}}`,
		`{"metadata": {"labels": {"imagecsi.dev.node-restriction.kubernetes.io/sandboxes": "bubblewrap"}}}`,
		`{"metadata": {"labels": {"imagecsi.dev.node-restriction.kubernetes.io/sandboxes": null}}}`,
		`{"spec": {"taints": [{"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}, {"key": "dedicated", "effect": "NoSchedule"}, {"key": "imagecsi.dev/driver-not-ready", "effect": "NoSchedule"}]}}`,
		`{"spec": {"taints": [{"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}, {"key": "dedicated", "effect": "NoSchedule"}]}}`,
	} {
		c.Expect(patch(text)).To(Succeed(), text)
	}
	c.Expect(c.Patch(c.ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: node.Name}},
		mergePatch(`{"metadata": {"labels": {"team": "b"}}}`))).To(Succeed(), "the administrator is held, too")
}

func TestTheOperatorMayChangeOnlyItsOwnClusterWideObjects(t *testing.T) {
	c := newCluster(t)
	c.installKinds()
	c.Expect(c.create("mine.example.com", "spec: {}")).To(Succeed())
	me := c.asOperator()
	kinds := map[string]schema.GroupVersionKind{
		`{"spec": {"requiresRepublish": true}}`:         storagev1.SchemeGroupVersion.WithKind("CSIDriver"),
		`{"priority": 9}`:                               render.SecurityContextConstraints().GroupVersionKind,
		`{"spec": {"defaultAction": "SCMP_ACT_ALLOW"}}`: render.SeccompProfile().GroupVersionKind,
	}
	object := func(gvk schema.GroupVersionKind, name string) *unstructured.Unstructured {
		out := &unstructured.Unstructured{Object: map[string]any{}}
		out.SetGroupVersionKind(gvk)
		out.SetName(name)
		switch gvk.Kind {
		case "SeccompProfile":
			out.Object["spec"] = map[string]any{"defaultAction": "SCMP_ACT_ERRNO"}
		case "CSIDriver":
			out.Object["spec"] = map[string]any{"podInfoOnMount": true}
		default:
			out.Object["allowHostPID"] = false
		}
		return out
	}
	for edit, gvk := range kinds {
		const words = "may change and delete only what is its own"
		theirs := object(gvk, "theirs.example.com")
		c.Eventually(func() error { return c.Create(c.ctx, theirs) }, soon).Should(Succeed())
		c.refuses(words, func() error { return me.Patch(c.ctx, theirs.DeepCopy(), mergePatch(edit), client.DryRunAll) })
		c.refuses(words, func() error {
			return me.Patch(c.ctx, theirs.DeepCopy(), mergePatch(`{"metadata": {"labels": {"imagecsi.dev/driver": "x"}}}`), client.DryRunAll)
		})
		c.refuses(words, func() error { return me.Delete(c.ctx, theirs.DeepCopy(), client.DryRunAll) })

		handed := object(gvk, "handed-over.example.com")
		handed.SetLabels(map[string]string{"imagecsi.dev/driver": "x"})
		c.Expect(c.Create(c.ctx, handed)).To(Succeed())
		c.Expect(me.Patch(c.ctx, handed.DeepCopy(), mergePatch(edit))).To(Succeed())

		mine := object(gvk, "mine.example.com")
		mine.SetLabels(map[string]string{"imagecsi.dev/driver": "mine.example.com"})
		apply := func() error {
			return me.Apply(c.ctx, client.ApplyConfigurationFromUnstructured(mine.DeepCopy()), controllers.FieldOwner, client.ForceOwnership)
		}
		c.Expect(apply()).To(Succeed(), "it creates its own")
		c.Expect(c.Patch(c.ctx, mine.DeepCopy(), mergePatch(`{"metadata": {"labels": null}}`))).To(Succeed())
		c.Expect(apply()).To(Succeed(), "a label that a hand took away comes back")
		for _, object := range []*unstructured.Unstructured{handed, mine} {
			c.Expect(me.Delete(c.ctx, object.DeepCopy())).To(Succeed())
		}
		c.Expect(c.Delete(c.ctx, theirs)).To(Succeed(), "the administrator is held, too")
	}
	before := csiDriver("csi-image.warm-metal.tech")
	c.Expect(c.Create(c.ctx, before)).To(Succeed())
	c.Expect(me.Patch(c.ctx, before, mergePatch(`{"metadata": {"labels": {"imagecsi.dev/driver": "x"}}}`))).To(Succeed(), "the legacy driver is taken over")
}

// editor may edit drivers, and raise their rights where escalate is set.
func (c *cluster) editor(name string, escalate bool) client.Client {
	c.Helper()
	verbs := []string{"get", "create", "update", "patch"}
	if escalate {
		verbs = append(verbs, "escalate")
	}
	c.grant(name, name, rbacv1.PolicyRule{APIGroups: []string{"storage.imagecsi.dev"}, Resources: []string{"imagecsidrivers"}, Verbs: verbs})
	return c.as(name)
}

// mayChangeNodesWhole gives a user rights that the operator does not have.
func (c *cluster) mayChangeNodesWhole(user string) {
	c.Helper()
	c.grant("changes-nodes", user, rbacv1.PolicyRule{APIGroups: []string{""}, Resources: []string{"nodes", "nodes/status"}, Verbs: []string{"create", "patch"}})
}

// grant gives a user a right until the test ends.
func (c *cluster) grant(role, user string, rule rbacv1.PolicyRule) {
	c.Helper()
	objects := []client.Object{
		&rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: role}, Rules: []rbacv1.PolicyRule{rule}},
		&rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: role},
			RoleRef:  rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role},
			Subjects: []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: user}}},
	}
	for _, object := range objects {
		c.Expect(c.Create(c.ctx, object)).To(Succeed())
	}
	c.Cleanup(func() {
		for _, object := range objects {
			if err := c.Delete(context.Background(), object); err != nil {
				c.Error(err)
			}
		}
	})
}

func TestRaisingADriversRightsWantsEscalate(t *testing.T) {
	c := newCluster(t)
	editor, master := c.editor("editor", false), c.editor("master", true)
	c.Expect(c.create("guarded.example.com", "spec: {nodeClasses: [{name: crio, kubeletRoot: /data/kubelet}]}")).To(Succeed())
	patch := func(who client.Client, text string, options ...client.PatchOption) error {
		object := &v1alpha1.ImageCSIDriver{ObjectMeta: metav1.ObjectMeta{Name: "guarded.example.com"}}
		return who.Patch(c.ctx, object, mergePatch(text), options...)
	}
	raising := map[string]string{
		`{"spec": {"nodePlugin": {"image": "example.com/evil:1"}}}`:                                            "to set spec.nodePlugin.image",
		`{"spec": {"nodeClasses": [{"name": "containerd", "mountMode": "Bidirectional"}]}}`:                    "to set spec.nodeClasses",
		`{"spec": {"nodeClasses": [{"name": "containerd", "kubeletRoot": "/etc/x"}]}}`:                         "to set spec.nodeClasses",
		`{"spec": {"nodeClasses": [{"name": "crio", "storageRoot": "/etc/x"}]}}`:                               "to set spec.nodeClasses",
		`{"spec": {"nodeClasses": [{"name": "crio", "runtimeEndpoint": "unix:///run/x/y.z"}]}}`:                "to set spec.nodeClasses",
		`{"spec": {"nodeClasses": [{"name": "crio", "imageStore": "/etc/x"}]}}`:                                "to set spec.nodeClasses",
		`{"spec": {"nodeClasses": [{"name": "crio", "match": {"runtime": "cri-o", "osImageContains": "x"}}]}}`: "to set spec.nodeClasses",
		`{"spec": {"credentials": {"providers": {"configPath": "/etc/p.yaml", "binDir": "/opt/p"}}}}`:          "to set spec.credentials.providers",
		`{"spec": {"credentials": {"secrets": [{"name": "registry"}]}}}`:                                       "to add to spec.credentials.secrets",
	}
	for text, words := range raising {
		c.refuses(words, func() error { return patch(editor, text, client.DryRunAll) })
	}
	c.Expect(patch(editor, `{"spec": {"nodePlugin": {"logLevel": "Debug"}, "rollout": {"maxUnavailable": 2}, "volumesInUse": "Ignore"}}`)).To(Succeed(), "nothing is raised")
	c.refuses("the verb escalate on imagecsidrivers new.example.com", func() error {
		return editor.Create(c.ctx, &v1alpha1.ImageCSIDriver{ObjectMeta: metav1.ObjectMeta{Name: "new.example.com"},
			Spec: v1alpha1.ImageCSIDriverSpec{NodePlugin: v1alpha1.NodePlugin{Image: "example.com/evil:1"}}}, client.DryRunAll)
	})
	for text := range raising {
		c.Eventually(func() error { return patch(master, text) }, 10*time.Second).Should(Succeed(), text)
		c.Expect(patch(editor, `{"spec": {"nodePlugin": {"logLevel": "Info"}}}`)).To(Succeed(), "what was raised before stays: "+text)
	}
	c.Expect(patch(editor, `{"spec": {"nodePlugin": {"image": null}, "nodeClasses": null, "credentials": null}}`)).To(Succeed(), "back to the default")
}

// Each case is an edit that loosens what the driver has, an edit of the same field that does not, and the words of the refusal.
func TestLooseningWhatAnAdministratorHasNarrowedWantsEscalate(t *testing.T) {
	c := newCluster(t)
	editor, master := c.editor("loosener", false), c.editor("loosening-master", true)
	const name = "narrowed.example.com"
	create := func(who client.Client, spec string) error {
		object := &unstructured.Unstructured{}
		c.Expect(yaml.Unmarshal([]byte("apiVersion: storage.imagecsi.dev/v1alpha1\nkind: ImageCSIDriver\nmetadata: {name: new.example.com}\nspec: "+spec), object)).To(Succeed())
		return who.Create(c.ctx, object, client.DryRunAll)
	}
	// While there is no driver whose rules these could be looser than.
	c.refuses("to loosen spec.credentials.verification", func() error { return create(editor, "{credentials: {verification: NeverVerify}}") })
	c.refuses("to add to spec.aliases", func() error { return create(editor, "{aliases: [ebs.csi.aws.com]}") })
	c.refuses("to set spec.nestedSandboxes", func() error { return create(editor, "{nestedSandboxes: {}}") })
	c.Expect(create(master, "{nestedSandboxes: {}}")).To(Succeed())
	c.Expect(c.create(name, `spec: {aliases: [one.example.com], nodePlugin: {seccompProfile: Narrow}, volumes: {access: ReadOnly}, credentials: {verification: AlwaysVerify},
		nodeClasses: [{name: crio, mountMode: Nsenter}, {name: containerd, mountMode: Nsenter}, {name: k3s, confinement: {seLinuxOptions: {type: own_t}, dropCapabilities: [MKNOD]}}],
		security: {imagePinning: Digest, allowedImages: [registry.example/team/, docker.io/library/busybox]}}`)).To(Succeed())
	patch := func(who client.Client, text string, options ...client.PatchOption) error {
		return who.Patch(c.ctx, &v1alpha1.ImageCSIDriver{ObjectMeta: metav1.ObjectMeta{Name: name}}, mergePatch(text), options...)
	}
	const aliases, seccomp, images, pinning, verification = "to add to spec.aliases", "seccompProfile from Narrow", "to widen spec.security.allowedImages",
		"imagePinning from Digest", "to loosen spec.credentials.verification"
	loose := map[string]string{
		`{"spec": {"aliases": ["one.example.com", "ebs.csi.aws.com"]}}`:                                                      aliases,
		`{"spec": {"nodePlugin": {"seccompProfile": "RuntimeDefault"}}}`:                                                     seccomp,
		`{"spec": {"nodePlugin": null}}`:                                                                                     seccomp,
		`{"spec": {"volumes": {"access": "ReadWrite"}}}`:                                                                     "to change spec.volumes.access from ReadOnly",
		`{"spec": {"nodeClasses": null}}`:                                                                                    "to remove mountMode Nsenter of a CRI-O class",
		`{"spec": {"nodeClasses": [{"name": "crio", "mountMode": "Nsenter"}]}}`:                                              "to remove the confinement of a class",
		`{"spec": {"nodeClasses": [{"name": "containerd", "mountMode": "Nsenter"}]}}`:                                        "to remove mountMode Nsenter of a CRI-O class",
		`{"spec": {"nodePlugin": {"seccompProfile": "Narrow", "confinement": {"appArmorProfile": {"type": "Unconfined"}}}}}`: "to change spec.nodePlugin.confinement",
		`{"spec": {"nodePlugin": {"seccompProfile": "Narrow", "confinement": {"dropCapabilities": []}}}}`:                    "to change spec.nodePlugin.confinement",
		`{"spec": {"volumes": null}}`:                                                                                        "to change spec.volumes.access from ReadOnly",
		`{"spec": {"security": {"allowedImages": null}}}`:                                                                    images,
		`{"spec": {"security": {"allowedImages": []}}}`:                                                                      images,
		`{"spec": {"security": {"allowedImages": ["registry.example/"]}}}`:                                                   images,
		`{"spec": {"security": {"allowedImages": ["docker.io/library/busybox", "registry.example/teams"]}}}`:                 images,
		`{"spec": {"security": {"allowedImages": ["docker.io/library/busybox/more"]}}}`:                                      images,
		`{"spec": {"security": {"imagePinning": "Optional"}}}`:                                                               pinning,
		`{"spec": {"security": {"imagePinning": null}}}`:                                                                     pinning,
		`{"spec": {"credentials": {"verification": "NeverVerifyPreloadedImages"}}}`:                                          verification,
		`{"spec": {"credentials": null}}`:                                                                                    verification,
	}
	for text, words := range loose {
		c.refuses(words, func() error { return patch(editor, text, client.DryRunAll) })
		c.Eventually(func() error { return patch(master, text, client.DryRunAll) }, soon).Should(Succeed(), text)
	}
	c.Expect(create(editor, "{aliases: [csi-image.warm-metal.tech], security: {allowedImages: [registry.example/team/], imagePinning: Digest}, "+
		"nodePlugin: {seccompProfile: RuntimeDefault}, credentials: {verification: AlwaysVerify}}")).To(Succeed(), "a new driver has nothing to loosen")
	for _, text := range []string{
		`{"spec": {"aliases": ["csi-image.warm-metal.tech", "one.example.com"]}}`,
		`{"spec": {"security": {"allowedImages": ["registry.example/team/deep/", "registry.example/team/app", "docker.io/library/busybox"]}}}`,
		`{"spec": {"security": {"allowedImages": ["registry.example/team/app"]}}}`,
		`{"spec": {"aliases": null}}`,
		`{"spec": {"nodeClasses": [{"name": "crio", "mountMode": "Nsenter"}, {"name": "k3s", "confinement": {"seLinuxOptions": {"type": "own_t"}, "dropCapabilities": ["MKNOD"]}}]}}`,
		`{"spec": {"nodePlugin": {"logLevel": "Debug"}}}`,
	} {
		c.Expect(patch(editor, text)).To(Succeed(), text)
	}
	c.Expect(patch(master, `{"spec": {"nodePlugin": null, "security": null, "credentials": null}}`)).To(Succeed())
	c.refuses(verification, func() error {
		return patch(editor, `{"spec": {"credentials": {"verification": "NeverVerify"}}}`, client.DryRunAll)
	})
	c.Expect(patch(editor, `{"spec": {"nodePlugin": {"seccompProfile": "Narrow"}, "volumes": {"access": "ReadOnly"}, "credentials": {"verification": "AlwaysVerify"},
		"security": {"imagePinning": "Digest", "allowedImages": ["registry.example/"]}}}`)).To(Succeed(), "to narrow")
}

// Users choose the driver of their volumes, so a second one must not be the way around the first one's rules.
func TestADriverWithLooserRulesThanAnotherWantsEscalate(t *testing.T) {
	c := newCluster(t)
	editor, master := c.editor("creator", false), c.editor("creating-master", true)
	create := func(who client.Client, spec string) func() error {
		object := &unstructured.Unstructured{}
		c.Expect(yaml.Unmarshal([]byte("apiVersion: storage.imagecsi.dev/v1alpha1\nkind: ImageCSIDriver\nmetadata: {name: new.example.com}\nspec: "+spec), object)).To(Succeed())
		return func() error { return who.Create(c.ctx, object.DeepCopy(), client.DryRunAll) }
	}
	c.Expect(create(editor, "{}")()).To(Succeed(), "without another driver there are no rules to go around")
	c.Expect(c.create("free.example.com", "spec: {}")).To(Succeed())
	c.Expect(c.create("held.example.com", "spec: {credentials: {verification: AlwaysVerify}, security: {imagePinning: Digest, allowedImages: [registry.example/team/], refusedContent: [DeviceNodes]}}")).To(Succeed())
	for spec, words := range map[string]string{
		"{}": "looser spec.security.allowedImages, spec.security.imagePinning, spec.security.refusedContent, spec.credentials.verification than ImageCSIDriver held.example.com has",
		"{credentials: {verification: AlwaysVerify}, security: {imagePinning: Digest, refusedContent: [DeviceNodes]}}":                                         "looser spec.security.allowedImages than",
		"{credentials: {verification: AlwaysVerify}, security: {imagePinning: Digest, allowedImages: [registry.example/], refusedContent: [DeviceNodes]}}":     "looser spec.security.allowedImages than",
		"{credentials: {verification: AlwaysVerify}, security: {allowedImages: [registry.example/team/], refusedContent: [DeviceNodes]}}":                      "looser spec.security.imagePinning than",
		"{security: {imagePinning: Digest, allowedImages: [registry.example/team/], refusedContent: [DeviceNodes]}}":                                           "looser spec.credentials.verification than",
		"{credentials: {verification: AlwaysVerify}, security: {imagePinning: Digest, allowedImages: [registry.example/team/], refusedContent: [SetIDFiles]}}": "looser spec.security.refusedContent than",
	} {
		c.refuses(words, create(editor, spec))
		c.Eventually(create(master, spec), soon).Should(Succeed(), spec)
	}
	c.Expect(create(editor, "{credentials: {verification: AlwaysVerify}, security: {imagePinning: Digest, allowedImages: [registry.example/team/app], refusedContent: [DeviceNodes, SetIDFiles]}}")()).To(Succeed())
}

// A node that the administrator has left out must not draw a node plugin, which may have the driver's secrets, to itself.
func TestAKubeletMayNotLabelItsNodeForNodePlugins(t *testing.T) {
	c := newCluster(t)
	kubelet := c.as("system:node:mine", "system:nodes", "system:authenticated")
	c.grant("plays-kubelets", "system:node:mine", rbacv1.PolicyRule{APIGroups: []string{""}, Resources: []string{"nodes", "nodes/status"}, Verbs: []string{"create", "patch"}})
	node := func(labels map[string]string) *corev1.Node {
		return &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "mine", Labels: labels}}
	}
	const words = "a kubelet may not change labels under imagecsi.dev/"
	c.refuses(words, func() error {
		return kubelet.Create(c.ctx, node(map[string]string{"imagecsi.dev/node-class": "containerd"}), client.DryRunAll)
	})
	c.Expect(kubelet.Create(c.ctx, node(map[string]string{"imagecsi.dev/exclude": "true", "pool": "a"}))).To(Succeed(), "it may leave itself out")
	patch := func(text string) error { return kubelet.Patch(c.ctx, node(nil), mergePatch(text)) }
	status := func(text string) error { return kubelet.Status().Patch(c.ctx, node(nil), mergePatch(text)) }
	for _, text := range []string{
		`{"metadata": {"labels": {"imagecsi.dev/node-class": "containerd"}}}`,
		`{"metadata": {"labels": {"imagecsi.dev/exclude": "false"}}}`,
		`{"metadata": {"labels": {"imagecsi.dev/sandbox-probe": "Running"}}}`,
		`{"metadata": {"labels": {"imagecsi.dev.node-restriction.kubernetes.io/sandboxes": "bubblewrap"}}}`,
		`{"metadata": {"labels": {"imagecsi.dev/exclude": null}}}`,
	} {
		c.Expect(patch(text)).To(MatchError(ContainSubstring(words)), text)
		c.Expect(status(text)).To(MatchError(ContainSubstring(words)), text)
	}
	c.Expect(patch(`{"metadata": {"labels": {"pool": "b"}}}`)).To(Succeed())
	c.Expect(status(`{"status": {"capacity": {"cpu": "9"}}}`)).To(Succeed())
	administrator := `{"metadata": {"labels": {"imagecsi.dev/exclude": null, "imagecsi.dev/node-class": "crio"}}}`
	c.Expect(c.Patch(c.ctx, node(nil), mergePatch(administrator))).To(Succeed(), "the administrator is held, too")
	c.Expect(patch(`{"metadata": {"labels": {"pool": "c"}}}`)).To(Succeed(), "what is there stays")
}

// podWith has an inline volume for each image, of a driver.
func podWith(name, driver string, attributes ...map[string]string) *corev1.Pod {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default"},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "example.com/c"}}}}
	for i, a := range attributes {
		pod.Spec.Volumes = append(pod.Spec.Volumes, corev1.Volume{Name: fmt.Sprint("v", i), VolumeSource: corev1.VolumeSource{
			CSI: &corev1.CSIVolumeSource{Driver: driver, VolumeAttributes: a}}})
	}
	return pod
}

func image(name string) map[string]string { return map[string]string{"image": name} }

func persistentVolume(name, driver, handle string, attributes map[string]string) *corev1.PersistentVolume {
	return &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.PersistentVolumeSpec{
		Capacity:    corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")},
		AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadOnlyMany},
		PersistentVolumeSource: corev1.PersistentVolumeSource{CSI: &corev1.CSIPersistentVolumeSource{
			Driver: driver, VolumeHandle: handle, VolumeAttributes: attributes}},
	}}
}

// imageRules is one entry of the table that the node plugin is tried on.
type imageRules struct {
	Rules            contract.ImageRules
	Allowed, Refused []string
}

func TestVolumesTakeAllowedImagesOnly(t *testing.T) {
	c := newCluster(t)
	try := func(object client.Object) func() error {
		return func() error { return c.Create(c.ctx, object, client.DryRunAll) }
	}
	text, err := os.ReadFile("../internal/nodeplugin/imagerules/testdata/references.yaml")
	c.Expect(err).NotTo(HaveOccurred())
	var table []imageRules
	c.Expect(yaml.UnmarshalStrict(text, &table)).To(Succeed())
	c.Expect(table).NotTo(BeEmpty())
	for i, entry := range table {
		driver := fmt.Sprintf("held-%d.example.com", i)
		rules, err := json.Marshal(entry.Rules)
		c.Expect(err).NotTo(HaveOccurred())
		c.Expect(c.create(driver, fmt.Sprintf("spec: {security: %s}", rules))).To(Succeed())
		for _, reference := range entry.Refused {
			c.refuses("may not be a volume", try(podWith("p", driver, image(reference))))
			c.refuses("may not be a volume", try(persistentVolume("pv", driver, reference, nil)))
		}
		for _, reference := range entry.Allowed {
			c.Expect(try(podWith("p", driver, image(reference)))()).To(Succeed(), reference)
			c.Expect(try(persistentVolume("pv", driver, reference, nil))()).To(Succeed(), reference)
		}
	}

	c.Expect(c.create("held.example.com", "spec: {aliases: [held-alias.example.com], security: {allowedImages: [docker.io/library/busybox]}}")).To(Succeed())
	c.Expect(c.create("free.example.com", "spec: {}")).To(Succeed())
	const driver = "held.example.com"
	c.refuses("allows docker.io/library/busybox; ", try(podWith("p", driver, image("evil"))))
	c.refuses("image docker.io/library/evil may not be a volume", try(podWith("p", driver, image("docker.io/library/evil"), image("busybox"))))
	c.refuses("may not be a volume", try(podWith("p", "held-alias.example.com", image("evil"))))
	c.refuses("may not be a volume", try(podWith("p", driver, map[string]string{"image": "busybox", "volumeHandle": "evil"})))
	c.refuses("may not be a volume", try(persistentVolume("pv", driver, "busybox", image("evil"))))
	c.Expect(try(persistentVolume("pv", driver, "unique-handle", image("busybox")))()).To(Succeed())
	c.Expect(try(podWith("p", "free.example.com", image("other")))()).To(Succeed(), "another driver is held, too")
	c.Expect(try(podWith("p", "not-ours.example.com", image("other")))()).To(Succeed(), "somebody else's driver is held, too")
	c.Expect(try(podWith("p", ""))()).To(Succeed(), "a pod without volumes is held, too")

	// More than CEL may cost. The node plugin holds what gets by; a pod of other drivers must be created in any case.
	for _, of := range []string{driver, "not-ours.example.com"} {
		attributes := make([]map[string]string, 2000)
		for i := range attributes {
			attributes[i] = image("docker.io/library/busybox/" + strings.Repeat("a/", 200))
		}
		err := try(podWith("p", of, attributes...))()
		if of != driver {
			c.Expect(err).NotTo(HaveOccurred())
		} else if err != nil {
			c.Expect(err).To(MatchError(ContainSubstring("may not be a volume")))
		}
	}
}

// warned creates an object that must be taken, and returns the warnings that the user gets.
func (c *cluster) warned(object client.Object) func() []string {
	c.Helper()
	return func() []string {
		var told warnings
		config := rest.CopyConfig(c.server.admin)
		config.WarningHandler = &told
		who, err := client.New(config, client.Options{Scheme: c.Scheme()})
		c.Expect(err).NotTo(HaveOccurred())
		c.Expect(who.Create(c.ctx, object, client.DryRunAll)).To(Succeed())
		return told
	}
}

type warnings []string

// HandleWarningHeader implements rest.WarningHandler.
func (w *warnings) HandleWarningHeader(_ int, _, text string) { *w = append(*w, text) }

func TestWhatAVolumeAsksForInVainIsTold(t *testing.T) {
	c := newCluster(t)
	c.Expect(c.create("told.example.com", "spec: {aliases: [told-alias.example.com]}")).To(Succeed())
	const driver, unknown, limited = "told.example.com", "volume attribute pullpolicy is not known to CSI driver told.example.com and does nothing", "volume attribute sizeLimit limits what is written"
	typo := map[string]string{"image": "busybox", "pullpolicy": "Never"}
	limit := map[string]string{"image": "busybox", "sizeLimit": "1Gi"}
	readOnly := podWith("p", driver, limit)
	readOnly.Spec.Volumes[0].CSI.ReadOnly = ptr.To(true)
	template := corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"a": "b"}}, Spec: podWith("p", driver, typo).Spec}
	once := template.DeepCopy()
	once.Spec.RestartPolicy = corev1.RestartPolicyNever
	meta := metav1.ObjectMeta{Namespace: "default", Name: "w"}
	selector := &metav1.LabelSelector{MatchLabels: template.Labels}
	for _, test := range []struct {
		object client.Object
		want   string
	}{
		{podWith("p", driver, typo), unknown},
		{podWith("p", "told-alias.example.com", image("busybox"), typo), unknown},
		{persistentVolume("pv", driver, "busybox", map[string]string{"pullpolicy": "Never"}), unknown},
		{&appsv1.Deployment{ObjectMeta: meta, Spec: appsv1.DeploymentSpec{Selector: selector, Template: template}}, unknown},
		{&appsv1.DaemonSet{ObjectMeta: meta, Spec: appsv1.DaemonSetSpec{Selector: selector, Template: template}}, unknown},
		{&appsv1.StatefulSet{ObjectMeta: meta, Spec: appsv1.StatefulSetSpec{Selector: selector, Template: template}}, unknown},
		{&batchv1.Job{ObjectMeta: meta, Spec: batchv1.JobSpec{Template: *once}}, unknown},
		{&batchv1.CronJob{ObjectMeta: meta, Spec: batchv1.CronJobSpec{Schedule: "* * * * *", JobTemplate: batchv1.JobTemplateSpec{Spec: batchv1.JobSpec{Template: *once}}}}, unknown},
		{readOnly, limited},
		{persistentVolume("pv", driver, "busybox", limit), limited},
	} {
		c.Eventually(c.warned(test.object), 10*time.Second, 50*time.Millisecond).Should(ContainElement(ContainSubstring(test.want)), "%T", test.object)
	}
	for _, object := range []client.Object{
		podWith("p", driver, limit, map[string]string{"volumeHandle": "busybox", "pullPolicy": "Never", "pullAlways": "true", "form": "IDMappable", "secret": "s", "secretNamespace": "n"}),
		podWith("p", "somebodys.example.com", typo), persistentVolume("pv", "somebodys.example.com", "x", typo), podWith("p", ""),
		persistentVolume("pv", driver, "busybox", map[string]string{"storage.kubernetes.io/csiProvisionerIdentity": "x"}),
	} {
		c.Expect(c.warned(object)()).To(BeEmpty(), "%T", object)
	}
}

func TestVolumesNameTheirImageByDigestWhereTheDriverWantsIt(t *testing.T) {
	c := newCluster(t)
	existing := podWith("existing", "pinned.example.com", image("busybox"))
	existing.Finalizers = []string{"example.com/stay"}
	c.Expect(c.create("pinned.example.com", "spec: {}")).To(Succeed())
	c.Expect(c.Create(c.ctx, existing)).To(Succeed())
	c.Expect(c.Patch(c.ctx, &v1alpha1.ImageCSIDriver{ObjectMeta: metav1.ObjectMeta{Name: "pinned.example.com"}},
		mergePatch(`{"spec": {"security": {"imagePinning": "Digest"}}}`))).To(Succeed())
	try := func(reference string) func() error {
		return func() error {
			return c.Create(c.ctx, podWith("p", "pinned.example.com", image(reference)), client.DryRunAll)
		}
	}
	digest := "@sha256:" + strings.Repeat("0", 64)
	for _, reference := range []string{"busybox", "busybox:1", "busybox:1@sha256:00", "busybox" + digest + "0"} {
		c.refuses("wants images named by digest", try(reference))
	}
	c.Expect(try("busybox" + digest)()).To(Succeed())
	c.Expect(try("busybox:1" + digest)()).To(Succeed())
	existing.Finalizers = nil
	c.Expect(c.Update(c.ctx, existing)).To(Succeed(), "a pod that exists cannot be edited any more")
}
