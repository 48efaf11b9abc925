package admission

import (
	"bytes"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
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
