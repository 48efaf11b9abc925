package install

import (
	"encoding/base64"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
)

const (
	gatherNamespace = "openshift-must-gather-test"
	gatherPod       = "kubectl -n " + gatherNamespace + " "

	// secretValue is one that nobody who helps is to see.
	secretValue = "seen-by-nobody-4711"
)

// gatherScript is that of oc's first container (openshift/oc, pkg/cli/admin/mustgather), which ends what gathers when 70 % of the volume are
// used. 100 stands for that here, because the volume is a part of this machine's disk. The part that watches is what the shell's own
// tests run, too.
func gatherScript(t *testing.T, p *plane) string {
	t.Helper()
	watcher, err := os.ReadFile(filepath.Join(p.root, "cmd/must-gather/testdata/watcher.sh"))
	if err != nil {
		t.Fatal(err)
	}
	return `if command -v setsid >/dev/null 2>&1 && command -v ps >/dev/null 2>&1 && command -v pkill >/dev/null 2>&1; then
  HAVE_SESSION_TOOLS=true
else
  HAVE_SESSION_TOOLS=false
fi
` + strings.NewReplacer("DIRECTORY", "/must-gather", "LIMIT", "100").Replace(strings.TrimSuffix(string(watcher), "\n")) + ` & if [ "$HAVE_SESSION_TOOLS" = "true" ]; then
  setsid -w bash <<-MUSTGATHER_EOF
/usr/bin/gather
MUSTGATHER_EOF
else
  /usr/bin/gather
fi; sync && echo 'Caches written to disk'`
}

// waitScript is that of the second, in which oc copies.
const waitScript = "trap : TERM INT; sleep infinity & wait"

// TestMustGather collects by the image for "oc adm must-gather" on a real node: with the objects that oc makes, because no
// module has oc with what it is built of, and by the commands that it calls in the pod. IMAGECSI_OC=/path/to/oc collects by oc besides. It
// takes a minute and a half on an idle machine.
func TestMustGather(t *testing.T) {
	p := onNode(t, "must-gather")
	p.pushShell(t)
	p.must(t, `kubectl apply --server-side -f install.yaml
		kubectl -n image-csi-operator rollout status deployment/image-csi-operator --timeout=2m
		kubectl apply -f config/samples/storage_v1alpha1_imagecsidriver.yaml
		kubectl wait --for=condition=Available --timeout=5m imagecsidriver/container-image.csi.k8s.io
		kubectl apply -f config/samples/pod_with_image_volume.yaml
		kubectl wait --for=condition=Ready --timeout=2m pod/reader`)
	mustGather(t, p, p.must(t, "sed -n 's/^ *operators.openshift.io.must-gather-image: //p' bundle/manifests/*.clusterserviceversion.yaml"))
}

// mustGather has an image collect, copies what it collected, and looks into it. There is a driver.
func mustGather(t *testing.T, p *plane, image string) {
	t.Helper()
	p.must(t, "for namespace in default image-csi-system; do kubectl -n $namespace create secret generic told-to-nobody --from-literal=token="+secretValue+"; done")
	p.create(t, gatheringNamespace())
	uid := p.must(t, "kubectl get namespace "+gatherNamespace+" -o jsonpath={.metadata.uid}")
	p.create(t, gatheringRights(types.UID(uid)))
	p.create(t, gatheringPod(image, gatherScript(t, p)))
	if _, err := p.sh(t.Context(), gatherPod+`wait pod/gathers --timeout=3m --for=jsonpath='{.status.containerStatuses[?(@.name=="gather")].state.terminated.exitCode}'=0`); err != nil {
		said, _ := p.sh(t.Context(), gatherPod+"describe pod gathers; "+gatherPod+"logs gathers -c gather")
		t.Fatal(err, said)
	}
	log := p.must(t, gatherPod+"logs gathers -c gather")
	for _, want := range []string{" of 100\n", "\nCaches written to disk"} {
		if !strings.Contains(log, want) {
			t.Errorf("the container that gathers lacks %q in its log:\n%s", want, log)
		}
	}

	// As oc does where rsync is not in the container, of which it asks only when the copy failed.
	copied := t.TempDir()
	p.refused(t, gatherPod+"exec gathers -c copy -- rsync --version", "rsync")
	p.must(t, gatherPod+"exec gathers -c copy -- tar --version")
	p.must(t, gatherPod+"exec gathers -c copy -- tar -C /must-gather/ -c . >"+copied+"/copy.tar")
	p.must(t, "mkdir "+copied+"/files && tar -xf "+copied+"/copy.tar -C "+copied+"/files && rm "+copied+"/copy.tar")
	checkGathered(t, p, filepath.Join(copied, "files"))

	p.must(t, "kubectl delete namespace "+gatherNamespace+" --timeout=1m")
	p.must(t, "kubectl wait --for=delete clusterrolebinding/must-gather-test --timeout=1m")
	if oc := os.Getenv("IMAGECSI_OC"); oc != "" {
		withOC(t, p, oc, image)
	}
	p.must(t, "for namespace in default image-csi-system; do kubectl -n $namespace delete secret told-to-nobody; done")
}

// withOC collects by a program that somebody has built or got.
func withOC(t *testing.T, p *plane, oc, image string) {
	t.Helper()
	copied := t.TempDir()
	// oc's default is 70 percent of the disk of this machine.
	t.Log(p.must(t, oc+" adm must-gather --volume-percentage=100 --image="+image+" --dest-dir="+copied))
	found, err := filepath.Glob(filepath.Join(copied, "*", "imagecsi"))
	if err != nil || len(found) != 1 {
		t.Fatalf("oc copied %q: %v", found, err)
	}
	checkGathered(t, p, filepath.Dir(found[0]))
}

// create creates an object.
func (p *plane) create(t *testing.T, object runtime.Object) {
	t.Helper()
	text, err := json.Marshal(object)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "object.json")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	p.must(t, "kubectl create -f "+file)
}

// checkGathered wants the version, the whole bundle with the driver's status and the live view of the node, and no value of a Secret.
func checkGathered(t *testing.T, p *plane, dir string) {
	t.Helper()
	text := func(file string) string {
		content, err := os.ReadFile(filepath.Join(dir, file))
		if err != nil {
			t.Fatal(err)
		}
		return string(content)
	}
	if got := text("version"); got != "image-csi-operator/must-gather\nv"+version+"\n" {
		t.Errorf("the file version has %q", got)
	}
	var manifest struct{ Missing []any }
	if err := json.Unmarshal([]byte(text("imagecsi/manifest.json")), &manifest); err != nil || len(manifest.Missing) > 0 {
		t.Errorf("something is missing: %v %v", manifest.Missing, err)
	}
	if status := text("imagecsi/answers/status.json"); !strings.Contains(status, `"container-image.csi.k8s.io"`) {
		t.Errorf("the driver's status is not in %s", status)
	}
	if live := p.must(t, "cat "+dir+"/imagecsi/live/*.json"); !strings.Contains(live, `"n1"`) {
		t.Errorf("the live view of the node is not in %s", live)
	}
	for _, value := range []string{secretValue, base64.StdEncoding.EncodeToString([]byte(secretValue))} {
		if found := p.must(t, "grep -rl -e "+value+" "+dir+" || true"); found != "" {
			t.Errorf("a secret's value %s is in %s", value, found)
		}
	}
}

func gatheringNamespace() *corev1.Namespace {
	const level = "pod-security.kubernetes.io/"
	return &corev1.Namespace{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Namespace"},
		ObjectMeta: metav1.ObjectMeta{
			Name: gatherNamespace,
			Labels: map[string]string{"openshift.io/run-level": "0", level + "enforce": "privileged", level + "audit": "privileged",
				level + "warn": "privileged", "security.openshift.io/scc.podSecurityLabelSync": "false"},
			Annotations: map[string]string{"oc.openshift.io/command": "oc adm must-gather", "openshift.io/node-selector": ""},
		},
	}
}

// gatheringRights go with the namespace.
func gatheringRights(uid types.UID) *rbacv1.ClusterRoleBinding {
	return &rbacv1.ClusterRoleBinding{
		TypeMeta: metav1.TypeMeta{APIVersion: rbacv1.SchemeGroupVersion.String(), Kind: "ClusterRoleBinding"},
		ObjectMeta: metav1.ObjectMeta{
			Name: "must-gather-test", OwnerReferences: []metav1.OwnerReference{{APIVersion: "v1", Kind: "Namespace", Name: gatherNamespace, UID: uid}},
		},
		RoleRef:  rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "cluster-admin"},
		Subjects: []rbacv1.Subject{{Kind: "ServiceAccount", Name: "default", Namespace: gatherNamespace}},
	}
}

func gatheringPod(image, script string) *corev1.Pod {
	const volume = "must-gather-output"
	container := func(name, script string) corev1.Container {
		return corev1.Container{
			Name: name, Image: image, ImagePullPolicy: corev1.PullIfNotPresent, Command: []string{"/bin/bash", "-c", script},
			TerminationMessagePolicy: corev1.TerminationMessageFallbackToLogsOnError,
			VolumeMounts:             []corev1.VolumeMount{{Name: volume, MountPath: "/must-gather"}},
		}
	}
	grace := int64(0)
	return &corev1.Pod{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"},
		ObjectMeta: metav1.ObjectMeta{Name: "gathers", Namespace: gatherNamespace, Labels: map[string]string{"app": "must-gather"}},
		Spec: corev1.PodSpec{
			PriorityClassName: "system-cluster-critical", RestartPolicy: corev1.RestartPolicyNever, TerminationGracePeriodSeconds: &grace,
			NodeSelector: map[string]string{corev1.LabelOSStable: "linux"}, Tolerations: []corev1.Toleration{{Operator: corev1.TolerationOpExists}},
			Volumes:    []corev1.Volume{{Name: volume, VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}},
			Containers: []corev1.Container{container("gather", script), container("copy", waitScript)},
		},
	}
}
