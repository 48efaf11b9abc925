package admission

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/image-csi/image-csi-operator/internal/cli/command"
)

// kubeconfigOf writes a file that leads to the API server as its administrator.
func kubeconfigOf(t *testing.T, config *rest.Config) string {
	t.Helper()
	file := clientcmdapi.NewConfig()
	file.Clusters["c"] = &clientcmdapi.Cluster{Server: config.Host, CertificateAuthorityData: config.CAData}
	file.AuthInfos["admin"] = &clientcmdapi.AuthInfo{ClientCertificateData: config.CertData, ClientKeyData: config.KeyData}
	file.Contexts["c"] = &clientcmdapi.Context{Cluster: "c", AuthInfo: "admin"}
	file.CurrentContext = "c"
	path := filepath.Join(t.TempDir(), "kubeconfig")
	if err := clientcmd.WriteToFile(*file, path); err != nil {
		t.Fatal(err)
	}
	return path
}

// waitingPod creates a pod whose volume does not mount, and the kubelet's event of it.
func waitingPod(t *testing.T, c client.Client) {
	t.Helper()
	const image = "docker.io/library/busybox:none"
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "waits"}, Spec: corev1.PodSpec{NodeName: "n1",
		Containers: []corev1.Container{{Name: "c", Image: "example.com/c"}}, Volumes: []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{
			CSI: &corev1.CSIVolumeSource{Driver: driver, VolumeAttributes: map[string]string{"image": image}}}}}}}
	if err := c.Create(t.Context(), pod); err != nil {
		t.Fatal(err)
	}
	event := &corev1.Event{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "waits.1"}, Reason: "FailedMount", Type: "Warning",
		InvolvedObject: corev1.ObjectReference{Kind: "Pod", Namespace: "default", Name: "waits", UID: pod.UID},
		Message: `MountVolume.SetUp failed for volume "v" : rpc error: code = NotFound desc = image ` + image +
			` does not exist in its registry; check the name and the tag`}
	if err := c.Create(t.Context(), event); err != nil {
		t.Fatal(err)
	}
	// The rights of view, which the controller manager would put together.
	binding := &rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "developer"},
		RoleRef:  rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "system:aggregate-to-view"},
		Subjects: []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: "User", Name: "developer"}}}
	if err := c.Create(t.Context(), binding); err != nil {
		t.Fatal(err)
	}
}

// pluginAnswers has `kubectl imagecsi` answer an administrator, and a developer who may view one namespace. (3 s)
func pluginAnswers(t *testing.T, config *rest.Config, c client.Client) {
	waitingPod(t, c)
	kubeconfig := kubeconfigOf(t, config)
	for _, q := range []struct {
		line string
		code command.ExitCode
		says []string
	}{
		{"why pod/waits --as developer", command.ExitFinding, []string{"(ImageNotFound)", "delete pod waits", "you may not read imagecsidrivers, nodes, csinodes"}},
		{"why pod/waits", command.ExitFinding, []string{"(ImageNotFound)"}},
		{"why pod/none --as developer", command.ExitFinding, []string{"There is no pod default/none"}},
		{"why pod/waits -n kube-system --as developer", command.ExitCluster, []string{"you may not list pods"}},
		{"volumes --as developer", command.ExitWell, []string{"waits", "Failed", "you may not read persistentvolumes, imagecsidrivers"}},
		{"volumes -A --as developer", command.ExitCluster, []string{"you may not list pods"}},
		{"native --as developer", command.ExitWell, []string{"Writable,Unread", "you may not list nodes", "you may not read persistentvolumes, imagecsidrivers, nodes"}},
		{"native", command.ExitWell, []string{"NeedsDriver", "Writable", "may write to it"}},
		{"status --as developer", command.ExitCluster, []string{"you may not list imagecsidrivers"}},
		{"nodes --as developer", command.ExitCluster, []string{"you may not list nodes"}},
		{"doctor", command.ExitFinding, []string{"Passed", "[kubernetes-version]", "no node can serve", "why pod/waits -n default"}},
		{"doctor --before-install --as developer", command.ExitWell, []string{"Skipped  you may not list nodes"}},
		{"status", command.ExitFinding, []string{driver, "the operator has not reported yet"}},
		{"status --wait 1s", command.ExitTimeout, []string{driver, "not available after 1s"}},
		{"status no-such-driver", command.ExitFinding, []string{"no ImageCSIDriver with the name or alias no-such-driver"}},
		{"status --server https://127.0.0.1:1", command.ExitCluster, []string{"127.0.0.1:1"}},
	} {
		var out, said bytes.Buffer
		streams := genericiooptions.IOStreams{In: strings.NewReader(""), Out: &out, ErrOut: &said}
		code := command.Run(t.Context(), streams, "v0", append(strings.Fields(q.line), "--kubeconfig", kubeconfig))
		if code != q.code {
			t.Errorf("%s: the exit code is %d, want %d", q.line, code, q.code)
		}
		for _, word := range q.says {
			if !strings.Contains(out.String()+said.String(), word) {
				t.Errorf("%s does not say %q:\n%s%s", q.line, word, &out, &said)
			}
		}
	}
}

// uninstallAnswers has `kubectl imagecsi uninstall` of an operator that the test plays: it is refused while a pod uses a volume, deletes the
// driver and waits for the operator, and is continued. (5 s)
func uninstallAnswers(t *testing.T, config *rest.Config, c client.Client) {
	kubeconfig := kubeconfigOf(t, config)
	ask := func(line string, code command.ExitCode, says ...string) {
		t.Helper()
		var out, said bytes.Buffer
		streams := genericiooptions.IOStreams{In: strings.NewReader(""), Out: &out, ErrOut: &said}
		if got := command.Run(t.Context(), streams, "v0", append(strings.Fields(line), "--kubeconfig", kubeconfig)); got != code {
			t.Errorf("%s: the exit code is %d, want %d", line, got, code)
		}
		for _, word := range says {
			if !strings.Contains(out.String()+said.String(), word) {
				t.Errorf("%s does not say %q:\n%s%s", line, word, &out, &said)
			}
		}
	}
	finalizers := func(value string) {
		t.Helper()
		patch := client.RawPatch(types.MergePatchType, []byte(`{"metadata": {"finalizers": `+value+`}}`))
		held := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "storage.imagecsi.dev/v1alpha1", "kind": "ImageCSIDriver", "metadata": map[string]any{"name": driver}}}
		if err := c.Patch(t.Context(), held, patch); err != nil {
			t.Fatal(err)
		}
	}
	finalizers(`["imagecsi.dev/cleanup"]`)
	ask("uninstall --apply --as developer", command.ExitCluster, "you may not list imagecsidrivers")
	ask("uninstall", command.ExitFinding, "Installed by: None", "default/waits", "no operator runs")
	operatorOfHelm(t, c)
	ask("uninstall", command.ExitFinding, "Installed by: Helm", "helm uninstall pictures --namespace default", "not before the drivers are gone")
	ask("uninstall --apply", command.ExitFinding, "default/waits", "nothing was deleted")
	ask("status", command.ExitFinding, driver)
	for _, namespace := range []string{"default", "sandboxes"} { // that tests before this one have pods in
		if err := c.DeleteAllOf(t.Context(), &corev1.Pod{}, client.InNamespace(namespace), client.GracePeriodSeconds(0)); err != nil {
			t.Fatal(err)
		}
	}
	ask("uninstall --apply --timeout 1s", command.ExitTimeout, "deleting ImageCSIDriver "+driver, "waiting for the operator", "not gone after 1s")
	finalizers("null")
	ask("uninstall --apply", command.ExitWell, "there is no ImageCSIDriver", "ToDo     Operator", "helm uninstall pictures --namespace default")
	ask("uninstall --apply", command.ExitWell, "there is no ImageCSIDriver")
}

// operatorOfHelm creates the operator's Deployment as one that Helm has installed, and that runs.
func operatorOfHelm(t *testing.T, c client.Client) {
	t.Helper()
	labels := map[string]string{"app.kubernetes.io/name": "image-csi-operator"}
	deployment := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "image-csi-operator", Labels: labels,
		Annotations: map[string]string{"meta.helm.sh/release-name": "pictures", "meta.helm.sh/release-namespace": "default"}},
		Spec: appsv1.DeploymentSpec{Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "example.com/c"}}}}}}
	if err := c.Create(t.Context(), deployment); err != nil {
		t.Fatal(err)
	}
	deployment.Status.Replicas, deployment.Status.ReadyReplicas, deployment.Status.AvailableReplicas = 1, 1, 1
	if err := c.Status().Update(t.Context(), deployment); err != nil {
		t.Fatal(err)
	}
}

// planted is a secret that stands in every place of the namespace where somebody may put one.
const planted = "pl4nt3d-s3cr3t"

// plantSecrets creates the operator's namespace with it.
func plantSecrets(t *testing.T, c client.Client) {
	t.Helper()
	meta := metav1.ObjectMeta{Namespace: "image-csi-system", Name: "image-csi-operator", Annotations: map[string]string{"example.com/login": planted},
		Labels: map[string]string{"app.kubernetes.io/name": "image-csi-operator", "app.kubernetes.io/part-of": "image-csi-operator"}}
	container := corev1.Container{Name: "c", Image: "example.com/c", Args: []string{"--token=" + planted}, Env: []corev1.EnvVar{{Name: "PASSWORD", Value: planted}}}
	for _, object := range []client.Object{
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "image-csi-system", Annotations: map[string]string{"example.com/login": planted}}},
		&corev1.Secret{ObjectMeta: meta, StringData: map[string]string{"password": planted}},
		&corev1.ConfigMap{ObjectMeta: meta, Data: map[string]string{"password": planted}},
		&corev1.Pod{ObjectMeta: meta, Spec: corev1.PodSpec{NodeName: "n1", Containers: []corev1.Container{container}, ImagePullSecrets: []corev1.LocalObjectReference{{Name: "corp-pull"}}}},
		&corev1.Event{ObjectMeta: metav1.ObjectMeta{Namespace: meta.Namespace, Name: "e"}, InvolvedObject: corev1.ObjectReference{Kind: "Pod", Namespace: meta.Namespace, Name: meta.Name},
			Message: "asked https://user:" + planted + "@registry.example in vain"},
	} {
		if err := c.Create(t.Context(), object); err != nil {
			t.Fatal(err)
		}
	}
}

// bundleIsSafe has `kubectl imagecsi support-bundle` write what can be read, and none of the secrets. There is no kubelet, so logs are
// among what cannot. (2 s)
func bundleIsSafe(t *testing.T, config *rest.Config, c client.Client) {
	plantSecrets(t, c)
	kubeconfig := kubeconfigOf(t, config)
	write := func(line string) (map[string]string, string) {
		t.Helper()
		dir := filepath.Join(t.TempDir(), "bundle")
		var out, said bytes.Buffer
		streams := genericiooptions.IOStreams{In: strings.NewReader(""), Out: &out, ErrOut: &said}
		if code := command.Run(t.Context(), streams, "v0", append(strings.Fields(line), "--dir", dir, "--kubeconfig", kubeconfig)); code != command.ExitWell {
			t.Fatalf("%s: exit code %d: %s", line, code, &said)
		}
		files := map[string]string{}
		err := fs.WalkDir(os.DirFS(dir), ".", func(path string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() {
				return err
			}
			content, err := os.ReadFile(filepath.Join(dir, path))
			files[path] = string(content)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return files, said.String()
	}
	files, said := write("support-bundle")
	for path, content := range files {
		if strings.Contains(content, planted) {
			t.Errorf("%s has the secret:\n%s", path, content)
		}
		if path != "manifest.json" && !strings.Contains(files["manifest.json"], `"path": "`+path+`"`) {
			t.Errorf("the manifest does not name %s", path)
		}
	}
	for path, has := range map[string]string{"objects/image-csi-system/pods.json": "corp-pull", "objects/image-csi-system/events.json": "registry.example in vain",
		"objects/imagecsidrivers.json": driver, "objects/validatingadmissionpolicies.json": "image-csi-volume-images", "versions.json": "kubernetes", "answers/doctor.json": "Doctor"} {
		if !strings.Contains(files[path], has) {
			t.Errorf("%s does not have %q:\n%s", path, has, files[path])
		}
	}
	if !strings.Contains(said, "not in it: logs/image-csi-system/image-csi-operator/c.log: ") {
		t.Errorf("what is missing is not shown:\n%s", said)
	}
	files, said = write("support-bundle --as developer")
	if !strings.Contains(said, "not in it: objects/image-csi-system/pods.json: you may not list these objects") || files["versions.json"] == "" {
		t.Errorf("what a developer may not read is not shown:\n%s", said)
	}
}
