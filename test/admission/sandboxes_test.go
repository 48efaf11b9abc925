package admission

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/image-csi/image-csi-operator/internal/contract"
	"github.com/image-csi/image-csi-operator/internal/sandbox"
	"github.com/image-csi/image-csi-operator/test/internal/poll"
)

// sandboxes is a namespace whose pods may make sandboxes.
const sandboxes = "sandboxes"

// createSandboxes makes it at Pod Security's level baseline. Before Kubernetes 1.35 that level refuses an unmasked /proc also to pods
// with users of their own, so there it has the level privileged.
func createSandboxes(t *testing.T, c client.Client) {
	t.Helper()
	const level = "pod-security.kubernetes.io/enforce"
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: sandboxes, Labels: map[string]string{"imagecsi.dev/sandboxes": "allowed", level: "baseline"}}}
	if err := c.Create(t.Context(), namespace); err != nil {
		t.Fatal(err)
	}
	poll.Until(t, "Pod Security lets a complete pod pass", takesEffect, func() error {
		err := c.Create(t.Context(), complete(), client.DryRunAll)
		if err == nil || !strings.Contains(err.Error(), "must not set securityContext.procMount") || namespace.Labels[level] == "privileged" {
			return err
		}
		if os.Getenv("TEST_ASSET_KUBE_APISERVER") == "" {
			t.Fatal(err) // it is not an older API server
		}
		t.Log("this API server has to be asked for level privileged: ", err)
		namespace.Labels[level] = "privileged"
		return errors.Join(c.Update(t.Context(), namespace), err)
	})
}

// labelled is a pod of the namespace that says no more than that it makes sandboxes.
func labelled() *corev1.Pod {
	pod := podOf(corev1.Volume{Name: "v", VolumeSource: corev1.VolumeSource{CSI: &corev1.CSIVolumeSource{Driver: driver, VolumeAttributes: map[string]string{"image": "busybox"}}}}, mount("v"))
	pod.Namespace, pod.Labels = sandboxes, map[string]string{"imagecsi.dev/sandbox": "bubblewrap"}
	pod.Spec.InitContainers = []corev1.Container{{Name: "i", Image: "example.com/i"}}
	return pod
}

// complete is such a pod with everything that it needs.
func complete() *corev1.Pod {
	pod := withItsOwnUsers(labelled())
	pod.Spec.Volumes[0] = formedVolume(driver, true, "IDMappable")
	pod.Spec.SecurityContext = &corev1.PodSecurityContext{RunAsNonRoot: ptr.To(true), RunAsUser: ptr.To[int64](1000), RunAsGroup: ptr.To[int64](1000),
		SELinuxOptions: &corev1.SELinuxOptions{Type: contract.SELinuxSandboxes}, SeccompProfile: localhost(sandbox.Name())}
	for _, containers := range [][]corev1.Container{pod.Spec.Containers, pod.Spec.InitContainers} {
		containers[0].SecurityContext = &corev1.SecurityContext{ProcMount: ptr.To(corev1.UnmaskedProcMount), AllowPrivilegeEscalation: ptr.To(false),
			Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}}}
	}
	return pod
}

func localhost(profile string) *corev1.SeccompProfile {
	return &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeLocalhost, LocalhostProfile: &profile}
}

func runtimeDefault() *corev1.SeccompProfile {
	return &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault}
}

// sandboxesAreHeld has the policies of config/admission. A pod that lacks one thing of what a complete one has is refused in a sentence.
func sandboxesAreHeld(t *testing.T, c client.Client) {
	if !keepsUsers(t, c) {
		return
	}
	createSandboxes(t, c)
	const allow, label, users, profile, escalate, drop, root, proc = "an administrator allows it by the namespace label imagecsi.dev/sandboxes: allowed",
		"needs the label imagecsi.dev/sandbox: bubblewrap", "needs hostUsers: false", "status.nestedSandboxes of an ImageCSIDriver names",
		"container c of a pod with sandboxes needs allowPrivilegeEscalation: false", "container c of a pod with sandboxes needs capabilities {drop: [ALL]}",
		"container c of a pod with sandboxes needs runAsNonRoot: true, and a runAsUser other than 0", "container c needs procMount: Unmasked"
	// The API server takes a moment to notice a namespace.
	poll.Until(t, "a complete pod is accepted", takesEffect, func() error { return c.Create(t.Context(), complete(), client.DryRunAll) })
	for name, test := range map[string]struct {
		change func(*corev1.Pod, *corev1.SecurityContext) // of the first container
		says   string
	}{
		"complete": {func(*corev1.Pod, *corev1.SecurityContext) {}, ""},
		"with a profile of another release": {func(p *corev1.Pod, _ *corev1.SecurityContext) {
			p.Spec.SecurityContext.SeccompProfile = localhost(sandbox.Prefix + "0.json")
		}, ""},
		"with the container's own profile": {func(p *corev1.Pod, s *corev1.SecurityContext) {
			p.Spec.SecurityContext.SeccompProfile, s.SeccompProfile = runtimeDefault(), localhost(sandbox.Name())
		}, ""},
		"with a sidecar that makes none": {func(_ *corev1.Pod, s *corev1.SecurityContext) { s.SeccompProfile, s.ProcMount = runtimeDefault(), nil }, ""},
		"as another user": {func(p *corev1.Pod, s *corev1.SecurityContext) {
			p.Spec.SecurityContext.RunAsNonRoot, p.Spec.SecurityContext.RunAsUser = nil, nil
			s.RunAsNonRoot, p.Spec.InitContainers = ptr.To(true), nil
		}, ""},
		"in another namespace": {func(p *corev1.Pod, _ *corev1.SecurityContext) { p.Namespace = "default" }, "namespace default may have no pods whose containers make sandboxes: " + allow},
		"without the label":    {func(p *corev1.Pod, _ *corev1.SecurityContext) { p.Labels = nil }, label},
		"with another label":   {func(p *corev1.Pod, _ *corev1.SecurityContext) { p.Labels["imagecsi.dev/sandbox"] = "podman" }, label},
		"without the label, but in a container": {func(p *corev1.Pod, s *corev1.SecurityContext) {
			p.Labels, p.Spec.SecurityContext.SeccompProfile, s.SeccompProfile = nil, nil, localhost(sandbox.Name())
		}, label},
		"without the label, by another path to the profile": {func(p *corev1.Pod, _ *corev1.SecurityContext) {
			p.Labels, p.Spec.SecurityContext.SeccompProfile = nil, localhost("./"+strings.Replace(sandbox.Name(), "/", "//./", 1))
		}, label},
		"by another path to the profile": {func(p *corev1.Pod, _ *corev1.SecurityContext) {
			p.Spec.SecurityContext.SeccompProfile = localhost("./" + sandbox.Name())
		}, profile},
		"with the node's users": {func(p *corev1.Pod, s *corev1.SecurityContext) {
			p.Spec.HostUsers, s.ProcMount, p.Spec.InitContainers = nil, nil, nil
		}, users},
		"with the node's users, in words": {func(p *corev1.Pod, s *corev1.SecurityContext) {
			p.Spec.HostUsers, s.ProcMount, p.Spec.InitContainers = ptr.To(true), nil, nil
		}, users},
		"without a profile": {func(p *corev1.Pod, _ *corev1.SecurityContext) { p.Spec.SecurityContext.SeccompProfile = nil }, profile},
		"with another profile": {func(p *corev1.Pod, _ *corev1.SecurityContext) {
			p.Spec.SecurityContext.SeccompProfile = localhost("team/own.json")
		}, profile},
		"with another profile of one":     {func(_ *corev1.Pod, s *corev1.SecurityContext) { s.SeccompProfile = localhost("team/own.json") }, "container c needs a seccompProfile"},
		"to become more":                  {func(_ *corev1.Pod, s *corev1.SecurityContext) { s.AllowPrivilegeEscalation = ptr.To(true) }, escalate},
		"silent of becoming more":         {func(_ *corev1.Pod, s *corev1.SecurityContext) { s.AllowPrivilegeEscalation = nil }, escalate},
		"with the runtime's capabilities": {func(_ *corev1.Pod, s *corev1.SecurityContext) { s.Capabilities = nil }, drop},
		"with one capability": {func(_ *corev1.Pod, s *corev1.SecurityContext) {
			s.Capabilities.Add = []corev1.Capability{"NET_BIND_SERVICE"}
		}, drop},
		"with all but one": {func(_ *corev1.Pod, s *corev1.SecurityContext) { s.Capabilities.Drop = []corev1.Capability{"NET_RAW"} }, drop},
		"as root": {func(_ *corev1.Pod, s *corev1.SecurityContext) {
			s.RunAsNonRoot, s.RunAsUser = ptr.To(false), ptr.To[int64](0)
		}, root},
		"as root by the image": {func(_ *corev1.Pod, s *corev1.SecurityContext) { s.RunAsNonRoot = ptr.To(false) }, root},
		"with a masked /proc":  {func(_ *corev1.Pod, s *corev1.SecurityContext) { s.ProcMount = ptr.To(corev1.DefaultProcMount) }, proc},
		"with an unsaid /proc": {func(_ *corev1.Pod, s *corev1.SecurityContext) { s.ProcMount = nil }, proc},
	} {
		t.Run(name, func(t *testing.T) {
			pod := complete()
			test.change(pod, pod.Spec.Containers[0].SecurityContext)
			err := c.Create(t.Context(), pod, client.DryRunAll)
			if (err != nil) != (test.says != "") || (err != nil && !strings.Contains(err.Error(), test.says)) {
				t.Errorf("%v, want %q", err, test.says)
			}
		})
	}
	t.Run("where the operator tries sandboxes", func(t *testing.T) { sandboxesAreTried(t, c) })
	t.Run("a container that is added to debug a pod", func(t *testing.T) { sandboxesAreDebugged(t, c) })
}

// sandboxesAreTried makes a complete pod in the namespace of node plugins, which is not allowed sandboxes by a label.
func sandboxesAreTried(t *testing.T, c client.Client) {
	where := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "plugins-of-probes", Annotations: map[string]string{"imagecsi.dev/node-plugin-image": "example.com/i"}}}
	if err := c.Create(t.Context(), where); err != nil {
		t.Fatal(err)
	}
	probe, bare := complete(), complete()
	probe.Namespace, bare.Namespace = where.Name, where.Name
	bare.Spec.HostUsers, bare.Spec.Containers[0].SecurityContext.ProcMount, bare.Spec.InitContainers = nil, nil, nil
	poll.Until(t, "a complete pod is accepted", takesEffect, func() error { return c.Create(t.Context(), probe.DeepCopy(), client.DryRunAll) })
	if err := c.Create(t.Context(), bare, client.DryRunAll); err == nil || !strings.Contains(err.Error(), "needs hostUsers: false") {
		t.Errorf("a pod with the node's users: %v", err)
	}
}

// sandboxesAreDebugged adds a container to a complete pod.
func sandboxesAreDebugged(t *testing.T, c client.Client) {
	pod := complete()
	if err := c.Create(t.Context(), pod); err != nil {
		t.Fatal(err)
	}
	held := pod.Spec.Containers[0].SecurityContext
	for says, context := range map[string]*corev1.SecurityContext{
		"needs allowPrivilegeEscalation: false": nil,
		"":                                      held,
	} {
		more := pod.DeepCopy()
		more.Spec.EphemeralContainers = []corev1.EphemeralContainer{{EphemeralContainerCommon: corev1.EphemeralContainerCommon{Name: "debug", Image: "example.com/c", SecurityContext: context}}}
		err := c.SubResource("ephemeralcontainers").Update(t.Context(), more, &client.SubResourceUpdateOptions{UpdateOptions: client.UpdateOptions{DryRun: []string{metav1.DryRunAll}}})
		if (err != nil) != (says != "") || (err != nil && !strings.Contains(err.Error(), says)) {
			t.Errorf("%v, want %q", err, says)
		}
	}
}

// sandboxesAreMade has the policies of config/mutation, and a driver. The label alone makes a pod complete, at Pod Security's level
// baseline and under the policy of config/admission, once the driver names a profile.
func sandboxesAreMade(t *testing.T, c client.Client) {
	if !keepsUsers(t, c) {
		return
	}
	createSandboxes(t, c)
	create(t, c, read(t, policies, "sandbox_pods.yaml"))
	try := func(pod *corev1.Pod) (*corev1.Pod, error) { return pod, c.Create(t.Context(), pod, client.DryRunAll) }
	poll.Until(t, "before there is a profile, the pod is told what is missing", takesEffect, func() error {
		_, err := try(labelled())
		switch {
		case err == nil:
			return errors.New("the pod is accepted")
		case !strings.Contains(err.Error(), "needs"):
			t.Fatal(err)
		}
		return nil
	})
	status := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "storage.imagecsi.dev/v1alpha1", "kind": "ImageCSIDriver", "metadata": map[string]any{"name": driver}}}
	if err := c.Status().Patch(t.Context(), status, client.RawPatch("application/merge-patch+json", []byte(`{"status": {"nestedSandboxes": {"seccompProfile": "`+sandbox.Name()+`"}}}`))); err != nil {
		t.Fatal(err)
	}
	want := complete()
	poll.Until(t, "the label makes the pod", takesEffect, func() error {
		got, err := try(labelled())
		if err != nil {
			return err
		}
		// What an API server adds to every pod is not compared.
		for _, pair := range [][2]any{
			{got.Spec.HostUsers, want.Spec.HostUsers}, {got.Spec.NodeSelector, map[string]string{contract.SandboxNodeLabel: contract.SandboxEngine}}, {got.Spec.SecurityContext, want.Spec.SecurityContext}, {got.Spec.Volumes[0], want.Spec.Volumes[0]},
			{got.Spec.Containers[0].SecurityContext, want.Spec.Containers[0].SecurityContext}, {got.Spec.InitContainers[0].SecurityContext, want.Spec.InitContainers[0].SecurityContext},
		} {
			if !equality.Semantic.DeepEqual(pair[0], pair[1]) {
				return fmt.Errorf("got %v\nwant %v", pair[0], pair[1])
			}
		}
		return nil
	})
	t.Run("what the pod says stays", func(t *testing.T) {
		pod := labelled()
		pod.Spec.SecurityContext = &corev1.PodSecurityContext{RunAsUser: ptr.To[int64](7), SELinuxOptions: &corev1.SELinuxOptions{Type: "container_t", Level: "s0:c1,c2"}}
		pod.Spec.NodeSelector = map[string]string{contract.SandboxNodeLabel: "another", "pool": "ci"}
		pod.Spec.InitContainers[0].SecurityContext = &corev1.SecurityContext{SeccompProfile: runtimeDefault(), Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL", "CHOWN"}}}
		got, err := try(pod)
		if err != nil {
			t.Fatal(err)
		}
		if !maps.Equal(got.Spec.NodeSelector, map[string]string{contract.SandboxNodeLabel: "another", "pool": "ci"}) {
			t.Errorf("the pod has node selector %v", got.Spec.NodeSelector)
		}
		init := got.Spec.InitContainers[0].SecurityContext
		if *got.Spec.SecurityContext.SELinuxOptions != (corev1.SELinuxOptions{Type: "container_t", Level: "s0:c1,c2"}) {
			t.Errorf("the pod has %s", got.Spec.SecurityContext.SELinuxOptions)
		}
		if *got.Spec.SecurityContext.RunAsUser != 7 || init.SeccompProfile.Type != corev1.SeccompProfileTypeRuntimeDefault || len(init.Capabilities.Drop) != 2 {
			t.Errorf("the pod is %s", got.Spec.String())
		}
	})
	for name, test := range map[string]struct {
		change func(*corev1.Pod)
		says   string
	}{
		"of another namespace":        {func(p *corev1.Pod) { p.Namespace = "default" }, "namespace default may have no pods"},
		"that wants the node's users": {func(p *corev1.Pod) { p.Spec.HostUsers = ptr.To(true) }, "hostUsers"},
		"that wants a capability": {func(p *corev1.Pod) {
			p.Spec.Containers[0].SecurityContext = &corev1.SecurityContext{Capabilities: &corev1.Capabilities{Add: []corev1.Capability{"CHOWN"}}}
		}, "needs capabilities"},
		"that wants no seccomp at all": {func(p *corev1.Pod) {
			p.Spec.SecurityContext = &corev1.PodSecurityContext{SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeUnconfined}}
		}, "seccomp"},
	} {
		t.Run("a pod "+name+" is refused", func(t *testing.T) {
			pod := labelled()
			test.change(pod)
			if _, err := try(pod); err == nil || !strings.Contains(err.Error(), test.says) {
				t.Errorf("%v does not say %q", err, test.says)
			}
		})
	}
	t.Run("a pod without the label is left alone", func(t *testing.T) {
		pod := labelled()
		pod.Labels = nil
		if got, err := try(pod); err != nil || got.Spec.HostUsers != nil || got.Spec.Containers[0].SecurityContext != nil || got.Spec.Volumes[0].CSI.ReadOnly != nil {
			t.Errorf("%v, %s", err, got.Spec.String())
		}
	})
}
