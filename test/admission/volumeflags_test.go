package admission

import (
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/rest"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/image-csi/image-csi-operator/test/internal/poll"
)

// alias is a further name of the driver.
const alias = "alias.example.com"

// mutationPolicy is what config/mutation holds. On an API server without the kind it wants the policy to be refused by name, and
// the installation to do without it; then there is no more to test.
func mutationPolicy(t *testing.T, config *rest.Config, c client.Client) (text []byte, served bool) {
	t.Helper()
	text, err := exec.CommandContext(t.Context(), kubectl(t), "kustomize", "../../config/mutation").Output()
	if err != nil {
		t.Fatal(err)
	}
	resources, err := discovery.NewDiscoveryClientForConfigOrDie(config).ServerResourcesForGroupVersion("admissionregistration.k8s.io/v1")
	if err != nil {
		t.Fatal(err)
	}
	for _, resource := range resources.APIResources {
		if resource.Kind == "MutatingAdmissionPolicy" {
			return text, true
		}
	}
	withoutTheKind(t, c)
	return nil, false
}

// flagged starts an API server with the policy in effect, and a driver. It is not ok where the server lacks the kind.
func flagged(t *testing.T) (c client.Client, ok bool) {
	t.Helper()
	config, c := server(t)
	create(t, c, read(t, "../../config/crd/bases/storage.imagecsi.dev_imagecsidrivers.yaml"))
	text, ok := mutationPolicy(t, config, c)
	if !ok {
		return nil, false
	}
	create(t, c, text)
	object := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "storage.imagecsi.dev/v1alpha1", "kind": "ImageCSIDriver",
		"metadata": map[string]any{"name": driver}, "spec": map[string]any{"aliases": []any{alias}}}}
	poll.Until(t, "a driver can be created", takesEffect, func() error { return c.Create(t.Context(), object.DeepCopy()) })
	poll.Until(t, "the policy takes effect", takesEffect, func() error {
		got := podOf(inlineVolume("v", driver, true), mount("v"))
		if err := c.Create(t.Context(), got, client.DryRunAll); err != nil {
			t.Fatal(err)
		}
		if got.Spec.Containers[0].VolumeMounts[0].RecursiveReadOnly == nil {
			return fmt.Errorf("volumeMount %+v", got.Spec.Containers[0].VolumeMounts[0])
		}
		return nil
	})
	return c, true
}

// withoutTheKind wants an API server that is too old to be told so by one command, and the other to need nothing of it.
func withoutTheKind(t *testing.T, c client.Client) {
	t.Helper()
	policy := &unstructured.Unstructured{}
	policy.SetGroupVersionKind(schema.GroupVersionKind{Group: "admissionregistration.k8s.io", Version: "v1", Kind: "MutatingAdmissionPolicy"})
	policy.SetName("any")
	if err := c.Create(t.Context(), policy); err == nil || !strings.Contains(err.Error(), "MutatingAdmissionPolicy") {
		t.Errorf("the kind is not served, and still: %v", err)
	}
	installed, err := exec.CommandContext(t.Context(), kubectl(t), "kustomize", "../../config/default").Output()
	if err != nil || strings.Contains(string(installed), "MutatingAdmissionPolicy") {
		t.Errorf("config/default needs the kind (%v)", err)
	}
}

func inlineVolume(name, driver string, readOnly bool) corev1.Volume {
	return corev1.Volume{Name: name, VolumeSource: corev1.VolumeSource{CSI: &corev1.CSIVolumeSource{Driver: driver, ReadOnly: &readOnly,
		VolumeAttributes: map[string]string{"image": "busybox"}}}}
}

func mount(volume string) corev1.VolumeMount {
	return corev1.VolumeMount{Name: volume, MountPath: "/" + volume}
}

// podOf is a pod with one volume, which its one container mounts.
func podOf(volume corev1.Volume, mounts ...corev1.VolumeMount) *corev1.Pod {
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "p"}, Spec: corev1.PodSpec{
		Volumes: []corev1.Volume{volume}, Containers: []corev1.Container{{Name: "c", Image: "example.com/c", VolumeMounts: mounts}}}}
}

// told is what a volumeMount says of being read-only.
func told(m corev1.VolumeMount) string {
	return fmt.Sprintf("readOnly %t, recursiveReadOnly %s", m.ReadOnly, ptr.Deref(m.RecursiveReadOnly, "unset"))
}

const (
	kept    = "readOnly true, recursiveReadOnly IfPossible"
	unasked = "readOnly false, recursiveReadOnly unset"
)

// changed is a volumeMount with something changed.
func changed(m corev1.VolumeMount, change func(*corev1.VolumeMount)) corev1.VolumeMount {
	change(&m)
	return m
}

// An API server takes up to half a minute to put a policy with parameters into effect; the rest is quick.
func TestMountFlagsAreKeptWhereAPodTellsThatItOnlyReads(t *testing.T) {
	c, ok := flagged(t)
	if !ok {
		return
	}
	ours := inlineVolume("v", driver, true)
	claim := corev1.Volume{Name: "v", VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "v", ReadOnly: true}}}
	for name, test := range map[string]struct {
		volume corev1.Volume
		mount  corev1.VolumeMount
		want   string
	}{
		"a read-only volume":              {ours, mount("v"), kept},
		"by an alias":                     {inlineVolume("v", alias, true), mount("v"), kept},
		"with a read-only mount":          {ours, changed(mount("v"), func(m *corev1.VolumeMount) { m.ReadOnly = true }), kept},
		"with a sub path":                 {ours, changed(mount("v"), func(m *corev1.VolumeMount) { m.SubPath = "a/b" }), kept},
		"with a sub path of the downward": {ours, changed(mount("v"), func(m *corev1.VolumeMount) { m.SubPathExpr = "$(HOME)" }), kept},
		"with no propagation, in words":   {ours, changed(mount("v"), func(m *corev1.VolumeMount) { m.MountPropagation = ptr.To(corev1.MountPropagationNone) }), kept},
		"with propagation from the host":  {ours, changed(mount("v"), func(m *corev1.VolumeMount) { m.MountPropagation = ptr.To(corev1.MountPropagationHostToContainer) }), unasked},
		"with the field disabled": {ours, changed(mount("v"), func(m *corev1.VolumeMount) {
			m.ReadOnly, m.RecursiveReadOnly = true, ptr.To(corev1.RecursiveReadOnlyDisabled)
		}), "readOnly true, recursiveReadOnly Disabled"},
		"with the field enabled": {ours, changed(mount("v"), func(m *corev1.VolumeMount) {
			m.ReadOnly, m.RecursiveReadOnly = true, ptr.To(corev1.RecursiveReadOnlyEnabled)
		}), "readOnly true, recursiveReadOnly Enabled"},
		"a writable volume":                 {inlineVolume("v", driver, false), mount("v"), unasked},
		"a read-only mount of a writable":   {inlineVolume("v", driver, false), changed(mount("v"), func(m *corev1.VolumeMount) { m.ReadOnly = true }), "readOnly true, recursiveReadOnly unset"},
		"another driver's volume":           {inlineVolume("v", "secrets-store.csi.k8s.io", true), mount("v"), unasked},
		"a claim, which may be anybody's":   {claim, mount("v"), unasked},
		"a volume that is no CSI volume":    {corev1.Volume{Name: "v", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}, mount("v"), unasked},
		"a volume that does not say so":     {corev1.Volume{Name: "v", VolumeSource: corev1.VolumeSource{CSI: &corev1.CSIVolumeSource{Driver: driver}}}, mount("v"), unasked},
		"an empty sub path and a long path": {ours, corev1.VolumeMount{Name: "v", MountPath: "/" + strings.Repeat("d/", 2000) + "d"}, kept},
	} {
		t.Run(name, func(t *testing.T) {
			got := podOf(test.volume, test.mount)
			if err := c.Create(t.Context(), got, client.DryRunAll); err != nil {
				t.Fatal(err)
			}
			if said := told(got.Spec.Containers[0].VolumeMounts[0]); said != test.want {
				t.Errorf("got %s, want %s", said, test.want)
			}
		})
	}
	t.Run("in every container, and nothing else of the pod changes", func(t *testing.T) { everyContainer(t, c) })
	t.Run("but where a container mounts file systems in the volume", func(t *testing.T) { propagating(t, c) })
	t.Run("in a container that is added to debug a pod", func(t *testing.T) { debugged(t, c) })
	t.Run("pods with users of their own get volumes in a form", func(t *testing.T) { formsAreAdded(t, c) })
	t.Run("pods that make sandboxes become what they need to be", func(t *testing.T) { sandboxesAreMade(t, c) })
	t.Run("in the largest of pods", func(t *testing.T) { large(t, c) })
}

// everyContainer has what the merge of an apply configuration might lose: entries with equal keys, which the API takes.
func everyContainer(t *testing.T, c client.Client) {
	both := []corev1.VolumeMount{mount("v"), mount("other"), {Name: "v", MountPath: "/again", SubPath: "sub"}}
	container := func(name string) corev1.Container {
		return corev1.Container{Name: name, Image: "example.com/c", VolumeMounts: both,
			Env:   []corev1.EnvVar{{Name: "A", Value: "1"}, {Name: "A", Value: "2"}, {Name: "B", Value: "$(A)"}},
			Ports: []corev1.ContainerPort{{ContainerPort: 80, Protocol: "TCP", Name: "a"}, {ContainerPort: 80, Protocol: "TCP", Name: "b"}}}
	}
	pod := podOf(inlineVolume("v", driver, true))
	pod.Spec.Volumes = append(pod.Spec.Volumes, corev1.Volume{Name: "other", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}})
	sidecar := container("sidecar")
	sidecar.RestartPolicy = ptr.To(corev1.ContainerRestartPolicyAlways)
	pod.Spec.InitContainers = []corev1.Container{container("init"), sidecar}
	pod.Spec.Containers = []corev1.Container{container("main"), {Name: "without", Image: "example.com/c"}, container("second")}
	pod.Spec.Tolerations = []corev1.Toleration{{Key: "a", Operator: "Exists"}, {Key: "a", Operator: "Exists", Effect: "NoSchedule"}}
	plain := pod.DeepCopy()
	plain.Spec.Volumes[0].CSI.Driver = "elsewhere.example.com"
	for _, object := range []*corev1.Pod{pod, plain} {
		if err := c.Create(t.Context(), object, client.DryRunAll); err != nil {
			t.Fatal(err)
		}
	}
	for _, containers := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for _, container := range containers {
			for i, mount := range container.VolumeMounts {
				want := kept
				if mount.Name == "other" {
					want = unasked
				}
				if said := told(mount); said != want {
					t.Errorf("container %s, %s: got %s, want %s", container.Name, mount.MountPath, said, want)
				}
				container.VolumeMounts[i].ReadOnly, container.VolumeMounts[i].RecursiveReadOnly = false, nil
			}
		}
	}
	pod.Spec.Volumes[0].CSI.Driver = plain.Spec.Volumes[0].CSI.Driver
	if got, want := fmt.Sprintf("%+v", pod.Spec.String()), fmt.Sprintf("%+v", plain.Spec.String()); got != want {
		t.Errorf("the policy changed more:\n%s\n%s", got, want)
	}
}

func propagating(t *testing.T, c client.Client) {
	pod := podOf(inlineVolume("v", driver, true), mount("v"))
	pod.Spec.InitContainers = []corev1.Container{{Name: "mounter", Image: "example.com/c", RestartPolicy: ptr.To(corev1.ContainerRestartPolicyAlways),
		SecurityContext: &corev1.SecurityContext{Privileged: ptr.To(true)},
		VolumeMounts:    []corev1.VolumeMount{changed(mount("v"), func(m *corev1.VolumeMount) { m.MountPropagation = ptr.To(corev1.MountPropagationBidirectional) })}}}
	if err := c.Create(t.Context(), pod, client.DryRunAll); err != nil {
		t.Fatal(err)
	}
	for _, container := range append(pod.Spec.InitContainers, pod.Spec.Containers...) {
		if said := told(container.VolumeMounts[0]); said != unasked {
			t.Errorf("container %s: %s, so what is mounted in the volume could not be written", container.Name, said)
		}
	}
}

// debugged adds two containers to a pod one after the other, as kubectl debug does. The pod is older than the policy's say in it:
// what it has already cannot change.
func debugged(t *testing.T, c client.Client) {
	pod := podOf(inlineVolume("v", driver, true), changed(mount("v"), func(m *corev1.VolumeMount) {
		m.ReadOnly, m.RecursiveReadOnly = true, ptr.To(corev1.RecursiveReadOnlyDisabled)
	}))
	pod.Name = "debugged"
	if err := c.Create(t.Context(), pod); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"first", "second"} {
		pod.Spec.EphemeralContainers = append(pod.Spec.EphemeralContainers, corev1.EphemeralContainer{
			EphemeralContainerCommon: corev1.EphemeralContainerCommon{Name: name, Image: "example.com/c", VolumeMounts: []corev1.VolumeMount{mount("v")}}})
		if err := c.SubResource("ephemeralcontainers").Update(t.Context(), pod); err != nil {
			t.Fatalf("add %s: %v", name, err)
		}
	}
	for _, container := range pod.Spec.EphemeralContainers {
		if said := told(container.VolumeMounts[0]); said != kept {
			t.Errorf("container %s: got %s, want %s", container.Name, said, kept)
		}
	}
}

// large is a pod that costs CEL as much as one can, within what an object may have. It has to pass, whatever becomes of its mounts.
func large(t *testing.T, c client.Client) {
	pod := podOf(inlineVolume("v0", driver, true))
	for i := range 200 {
		pod.Spec.Volumes = append(pod.Spec.Volumes, inlineVolume(fmt.Sprintf("v%d", i+1), driver, true))
	}
	pod.Spec.Containers = nil
	for i := range 40 {
		container := corev1.Container{Name: fmt.Sprintf("c%d", i), Image: "example.com/c"}
		for j := range 200 {
			container.VolumeMounts = append(container.VolumeMounts, mount(fmt.Sprintf("v%d", j)))
		}
		pod.Spec.Containers = append(pod.Spec.Containers, container)
	}
	began := time.Now()
	if err := c.Create(t.Context(), pod, client.DryRunAll); err != nil {
		t.Fatalf("a large pod is refused: %v", err)
	}
	t.Logf("8,000 volumeMounts of 201 volumes took %s, and the last says %s", time.Since(began).Round(time.Millisecond), told(pod.Spec.Containers[39].VolumeMounts[199]))
}

// What a policy has for a parameter may be missing, and drivers come and go. It stops nothing of others, nor anything of ours. An
// API server takes seconds to notice a policy, so each is tried for longer than that. This takes about half a minute.
func TestThePolicyForMountFlagsStopsNothingWhateverIsMissing(t *testing.T) {
	config, c := server(t)
	text, served := mutationPolicy(t, config, c)
	if !served {
		return
	}
	create(t, c, text)
	try := func(when string, during time.Duration) {
		t.Helper()
		objects := bystanders()
		objects["pod with a volume of ours"] = podOf(inlineVolume("v", driver, true), mount("v"))
		for began := time.Now(); time.Since(began) < during; time.Sleep(200 * time.Millisecond) {
			for what, object := range objects {
				if err := c.Create(t.Context(), object.DeepCopyObject().(client.Object), client.DryRunAll); err != nil {
					t.Fatalf("%s, a %s: %v", when, what, err)
				}
			}
		}
	}
	try("without the definition of drivers", 10*time.Second)
	create(t, c, read(t, "../../config/crd/bases/storage.imagecsi.dev_imagecsidrivers.yaml"))
	try("without a driver", 5*time.Second)
}
