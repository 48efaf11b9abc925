package admission

import (
	"bytes"
	"cmp"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"github.com/image-csi/image-csi-operator/api/v1alpha1"
	"github.com/image-csi/image-csi-operator/internal/operator/nodeclass"
	"github.com/image-csi/image-csi-operator/test/internal/poll"
)

// takesEffect is more than an API server takes to put a policy into effect whose parameter's kind was not there at first; half
// a minute was measured.
const takesEffect = 2 * time.Minute

// server starts an API server with nothing on it, until the test ends.
func server(t *testing.T) (*rest.Config, client.Client) {
	t.Helper()
	if os.Getenv("KUBEBUILDER_ASSETS") == "" {
		if os.Getenv("CI") != "" {
			t.Fatal("KUBEBUILDER_ASSETS is not set; in CI the tests against an API server must run")
		}
		t.Skip("KUBEBUILDER_ASSETS is not set: no API server to test against")
	}
	environment := &envtest.Environment{}
	// Before the start, which may fail when one of the two runs already.
	t.Cleanup(func() {
		if err := environment.Stop(); err != nil {
			t.Error(err)
		}
	})
	config, err := environment.Start()
	if err != nil {
		t.Fatal(err)
	}
	c, err := client.New(config, client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return config, c
}

// create makes the objects in a stream of YAML.
func create(t *testing.T, c client.Client, text []byte) {
	t.Helper()
	for documents := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(text), 4096); ; {
		object := &unstructured.Unstructured{}
		if err := documents.Decode(&object.Object); errors.Is(err, io.EOF) {
			return
		} else if err != nil {
			t.Fatal(err)
		}
		if len(object.Object) == 0 {
			continue
		}
		if err := c.Create(t.Context(), object); err != nil {
			t.Fatalf("create %s %s: %v", object.GetKind(), object.GetName(), err)
		}
	}
}

func read(t *testing.T, path ...string) []byte {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(path...))
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// bystanders are objects that have nothing to do with any driver of ours.
func bystanders() map[string]client.Object {
	plain := func(namespace string, volumes ...corev1.Volume) *corev1.Pod {
		return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "bystander"},
			Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "example.com/c"}}, Volumes: volumes}}
	}
	volume := func(source corev1.PersistentVolumeSource) *corev1.PersistentVolume {
		return &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: "bystander"}, Spec: corev1.PersistentVolumeSpec{
			Capacity:    corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")},
			AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce}, PersistentVolumeSource: source}}
	}
	return map[string]client.Object{
		"pod":                       plain("default"),
		"pod in kube-system":        plain("kube-system"),
		"pod with another's volume": plain("default", corev1.Volume{Name: "v", VolumeSource: corev1.VolumeSource{CSI: &corev1.CSIVolumeSource{Driver: "secrets-store.csi.k8s.io"}}}),
		"pod with its own users and another's volume": withItsOwnUsers(plain("default", corev1.Volume{Name: "v",
			VolumeSource: corev1.VolumeSource{CSI: &corev1.CSIVolumeSource{Driver: "secrets-store.csi.k8s.io"}}})),
		"hostPath volume":  volume(corev1.PersistentVolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/x"}}),
		"another's volume": volume(corev1.PersistentVolumeSource{CSI: &corev1.CSIPersistentVolumeSource{Driver: "ebs.csi.aws.com", VolumeHandle: "v"}}),
		"DaemonSet": &appsv1.DaemonSet{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "bystander"}, Spec: appsv1.DaemonSetSpec{
			Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"a": "b"}},
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"a": "b"}}, Spec: plain("default").Spec}}},
		"CSIDriver": &storagev1.CSIDriver{ObjectMeta: metav1.ObjectMeta{Name: "bystander.example.com"}},
		"node":      &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "bystander"}},
		"namespace": &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "bystander"}},
	}
}

// What a policy has for a parameter may be missing: before the operator is installed, after it is removed, or when things are
// applied in another order. An API server takes seconds to notice a policy, so all are tried for longer than that. This takes
// about a minute.
func TestPoliciesStopNothingOfOthersWhateverIsMissing(t *testing.T) {
	config, c := server(t)
	policies := cmp.Or(os.Getenv("IMAGECSI_ADMISSION"), policies) // make test-rules names copies that lack a rule
	var list struct{ Resources []string }
	if err := yaml.Unmarshal(read(t, policies, "kustomization.yaml"), &list); err != nil || len(list.Resources) == 0 {
		t.Fatal(len(list.Resources), "policies:", err)
	}
	for _, file := range list.Resources {
		create(t, c, read(t, policies, file))
	}
	try := func(when string, during time.Duration) {
		t.Helper()
		for began := time.Now(); time.Since(began) < during; time.Sleep(200 * time.Millisecond) {
			for what, object := range bystanders() {
				if err := c.Create(t.Context(), object, client.DryRunAll); err != nil {
					t.Fatalf("%s, a %s: %v", when, what, err)
				}
			}
		}
	}
	try("without the definition of drivers", 10*time.Second)
	create(t, c, read(t, "../../config/crd/bases/storage.imagecsi.dev_imagecsidrivers.yaml"))
	try("without a driver", 2*time.Second)
	held := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "storage.imagecsi.dev/v1alpha1", "kind": "ImageCSIDriver",
		"metadata": map[string]any{"name": driver}, "spec": map[string]any{"security": map[string]any{"allowedImages": []any{"docker.io/library/busybox"}}}}}
	poll.Until(t, "a driver can be created", takesEffect, func() error { return c.Create(t.Context(), held.DeepCopy()) })
	evil := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "evil"}, Spec: corev1.PodSpec{
		Containers: []corev1.Container{{Name: "c", Image: "example.com/c"}}, Volumes: []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{
			CSI: &corev1.CSIVolumeSource{Driver: driver, VolumeAttributes: map[string]string{"image": "evil.example/x"}}}}}}}
	poll.Until(t, "the policy holds", takesEffect, func() error {
		err := c.Create(t.Context(), evil.DeepCopy(), client.DryRunAll)
		if err == nil {
			return errors.New("the pod is accepted")
		}
		if !strings.Contains(err.Error(), "evil.example/x may not be a volume") {
			t.Fatal(err)
		}
		return nil
	})
	try("with a driver", 2*time.Second)
	t.Run("pods with users of their own need volumes in a form", func(t *testing.T) { formsAreWanted(t, c) })
	t.Run("pods that make sandboxes are confined otherwise", func(t *testing.T) { sandboxesAreHeld(t, c) })
	t.Run("kubectl imagecsi answers by what the caller may read", func(t *testing.T) { pluginAnswers(t, config, c) })
	t.Run("kubectl imagecsi support-bundle has no secrets", func(t *testing.T) { bundleIsSafe(t, config, c) })
	t.Run("kubectl imagecsi uninstall deletes drivers that nobody uses", func(t *testing.T) { uninstallAnswers(t, config, c) })
}

// kubectl is the program that comes with the API server.
func kubectl(t *testing.T) string {
	t.Helper()
	path := filepath.Join(os.Getenv("KUBEBUILDER_ASSETS"), "kubectl")
	if _, err := os.Stat(path); err != nil {
		t.Fatal(err)
	}
	return path
}

// elsewhere is a kustomization that moves config/default, with operator and node plugins in one namespace, into namespace elsewhere.
func elsewhere(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	root, err := filepath.Abs("../../config")
	if err != nil {
		t.Fatal(err)
	}
	config, err := filepath.Rel(dir, root)
	if err != nil {
		t.Fatal(err)
	}
	text := "namespace: elsewhere\nresources: [" + config + "/default]\ncomponents: [" + config + "/single-namespace]\n"
	if err := os.WriteFile(filepath.Join(dir, "kustomization.yaml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

// Kustomize, Helm and OLM move the namespace of objects, and do not look into CEL.
func TestPoliciesHoldTheOperatorInWhateverNamespaceItIs(t *testing.T) {
	config, c := server(t)
	program, dir := kubectl(t), elsewhere(t)
	built, err := exec.CommandContext(t.Context(), program, "kustomize", dir).Output()
	if err != nil {
		t.Fatal(err)
	}
	create(t, c, built)
	if err := c.Create(t.Context(), &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "one"}}); err != nil {
		t.Fatal(err)
	}
	as := func(user string) client.Client {
		t.Helper()
		config := rest.CopyConfig(config)
		config.Impersonate.UserName = user
		out, err := client.New(config, client.Options{})
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	patch := func(who client.Client, text string) error {
		return who.Patch(t.Context(), &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "one"}}, client.RawPatch(types.MergePatchType, []byte(text)), client.DryRunAll)
	}
	operator := as("system:serviceaccount:elsewhere:image-csi-operator")
	poll.Until(t, "the operator is held", takesEffect, func() error {
		err := patch(operator, `{"metadata": {"labels": {"team": "b"}}}`)
		if err != nil && strings.Contains(err.Error(), "labels under imagecsi.dev/ only") {
			return nil
		}
		return errors.Join(errors.New("it may set a label of others"), err)
	})
	if err := patch(operator, `{"metadata": {"labels": {"imagecsi.dev/node-class": "containerd"}}}`); err != nil {
		t.Error(err)
	}

	// The image that node plugins may have is the operator's own, wherever both come from.
	held := &v1alpha1.ImageCSIDriver{TypeMeta: metav1.TypeMeta{APIVersion: v1alpha1.GroupVersion.String(), Kind: "ImageCSIDriver"},
		ObjectMeta: metav1.ObjectMeta{Name: driver}}
	poll.Until(t, "a driver can be created", takesEffect, func() error { return c.Create(t.Context(), untyped(t, held)) })
	class, _ := nodeclass.NewTable(nil).Lookup(nodeclass.Containerd)
	var deployment appsv1.Deployment
	if err := c.Get(t.Context(), client.ObjectKey{Namespace: "elsewhere", Name: "image-csi-operator"}, &deployment); err != nil {
		t.Fatal(err)
	}
	own := deployment.Spec.Template.Spec.Containers[0].Image
	for _, spec := range []corev1.PodSpec{deployment.Spec.Template.Spec, daemonSet(t, held, class, "elsewhere", own).Spec.Template.Spec} {
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "elsewhere", Name: "tried"}, Spec: spec}
		if err := c.Create(t.Context(), pod, client.DryRunAll); err != nil {
			t.Error(err)
		}
	}
	poll.Until(t, "the operator may create node plugins", takesEffect, func() error {
		return operator.Create(t.Context(), untyped(t, daemonSet(t, held, class, "elsewhere", own)), client.DryRunAll)
	})
	err = operator.Create(t.Context(), untyped(t, daemonSet(t, held, class, "elsewhere", "evil.example/x")), client.DryRunAll)
	if err == nil || !strings.Contains(err.Error(), "the operator may run no ") {
		t.Error("another image:", err)
	}
}
