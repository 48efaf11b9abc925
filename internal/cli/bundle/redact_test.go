package bundle

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/image-csi/image-csi-operator/internal/cli/document"
)

// planted is the secret that must not come out, and must not be found in parts either.
const planted = "pl4nt3d-s3cr3t"

func TestNoTextGivesASecretAway(t *testing.T) {
	for _, text := range []string{
		"Authorization: Bearer " + planted, "authorization=Basic " + planted, "get https://user:" + planted + "@registry.example/v2/", "https://" + planted + "@registry.example",
		`{"auths":{"r":{"auth":"` + planted + `"}}}`, `{\"auth\":\"` + planted + `\"}`, `{"msg":"{\"password\": \"` + planted + `\"}"}`,
		"password=" + planted + " tried", "PASSWORD: " + planted, "identitytoken: '" + planted + "'", "https://b.example/o?X-Amz-Signature=" + planted + "&x=1",
		"?token=" + planted + "&scope=pull", "AWS_SECRET_ACCESS_KEY=" + planted, "secret=" + planted, "eyJhbGciOiJSUzI1.eyJpc3Mi." + planted,
		"-----BEGIN RSA PRIVATE KEY-----\n" + planted + "\n-----END RSA PRIVATE KEY-----", "-----BEGIN PRIVATE KEY-----\n" + planted,
	} {
		if got := Text(text); strings.Contains(got, planted) {
			t.Errorf("%q stays in %q", planted, got)
		}
	}
}

func TestWhatHelpsStays(t *testing.T) {
	for _, text := range []string{
		"secret ml/corp, which the volume names in nodePublishSecretRef, does not exist", "the registry refuses to give out image registry.corp/ml/llama:8b; it was asked without credentials",
		"unexpected status: 401 Unauthorized", "docker.io/library/busybox@sha256:0123456789abcdef", "unix:///run/containerd/containerd.sock does not answer", "imagePullSecrets: corp",
	} {
		if got := Text(text); got != text {
			t.Errorf("%q became %q", text, got)
		}
	}
}

// deployment has the planted secret wherever a pod template can hold one, and beside it what a reader needs.
func deployment() *appsv1.Deployment {
	probe := &corev1.Probe{ProbeHandler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Port: intstr.FromInt32(1), HTTPHeaders: []corev1.HTTPHeader{{Name: "Authorization", Value: planted}}}}}
	container := corev1.Container{Name: "c", Image: "example.com/c:1", Args: []string{"--registry-token=" + planted, "--password", planted, "--log-level=Debug", "--url=https://u:" + planted + "@h"},
		Command: []string{"sh", "-c", "PASSWORD=" + planted + " run"}, LivenessProbe: probe,
		Env: []corev1.EnvVar{{Name: "HTTPS_PROXY", Value: planted}, {Name: "FROM", ValueFrom: &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: "corp"}, Key: "k"}}},
			{Name: "RELATED_IMAGE_NODE_PLUGIN", Value: "example.com/image:1"}}}
	meta := metav1.ObjectMeta{Name: "d", Annotations: map[string]string{"kubectl.kubernetes.io/last-applied-configuration": planted, "team": planted, "example.com/token": planted, "imagecsi.dev/revision": "kept"},
		ManagedFields: []metav1.ManagedFieldsEntry{{Manager: "m", FieldsV1: metav1.NewFieldsV1(`{"` + planted + `":{}}`)}}}
	return &appsv1.Deployment{ObjectMeta: meta, Spec: appsv1.DeploymentSpec{Template: corev1.PodTemplateSpec{ObjectMeta: *meta.DeepCopy(),
		Spec: corev1.PodSpec{Containers: []corev1.Container{container}, InitContainers: []corev1.Container{container}, ImagePullSecrets: []corev1.LocalObjectReference{{Name: "corp-pull"}}}}}}
}

func TestNoObjectGivesASecretAway(t *testing.T) {
	for _, object := range []any{
		deployment(),
		&corev1.Secret{Data: map[string][]byte{"k": []byte(planted)}, StringData: map[string]string{"k": planted}},
		&corev1.ConfigMap{Data: map[string]string{"k": planted}, BinaryData: map[string][]byte{"k": []byte(planted)}},
		&corev1.Event{Message: "pull https://u:" + planted + "@registry.example failed"},
		map[string]any{"list": []any{map[string]any{"password": planted, "registry.token": planted, "accessToken": planted, "privateKey": planted}}},
	} {
		got, err := Object(object)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(got, []byte(planted)) || bytes.Contains(got, []byte("cGw0bnQzZC1zM2NyM3Q")) {
			t.Errorf("%T: the secret stays:\n%s", object, got)
		}
	}
	got, _ := Object(deployment())
	for _, kept := range []string{"corp-pull", `"corp"`, "HTTPS_PROXY", "--log-level=Debug", "example.com/image:1", `"imagecsi.dev/revision": "kept"`, `"team": "REDACTED"`} {
		if !bytes.Contains(got, []byte(kept)) {
			t.Errorf("the Deployment lacks %s:\n%s", kept, got)
		}
	}
}

func TestABundleIsBoundedAndItsManifestNamesEveryFile(t *testing.T) {
	var b Bundle
	b.Add("a/deployment.json", "a Deployment", deployment())
	b.AddText("a/c.log", "a log", []byte("password="+planted))
	b.add("huge.log", "too much", make([]byte, maxFile+1))
	b.Miss("pods", "you may not list pods")
	for range maxTotal/maxFile + 1 {
		b.add("large.log", "a large log", make([]byte, maxFile))
	}
	dir, now := t.TempDir(), time.Unix(1, 0)
	archive := filepath.Join(dir, "bundle.tar.gz")
	d, err := b.WriteArchive(archive, now)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.WriteArchive(archive, now); err == nil || !strings.Contains(err.Error(), "exists") {
		t.Errorf("written over what was there: %v", err)
	}
	files, total := unpacked(t, archive)
	var told document.SupportBundle
	if err := json.Unmarshal(files["bundle/manifest.json"], &told); err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for _, f := range told.Files {
		names["bundle/"+f.Path] = true
	}
	for name, content := range files {
		if name != "bundle/manifest.json" && !names[name] {
			t.Errorf("the manifest does not name %s", name)
		}
		if bytes.Contains(content, []byte(planted)) {
			t.Errorf("%s has the secret", name)
		}
	}
	if len(told.Files) != len(d.Files) || len(told.Missing) < 3 || told.Missing[0].What != "huge.log" || total > maxTotal+maxFile {
		t.Errorf("%d bytes, and the manifest is %d files, missing %+v", total, len(told.Files), told.Missing)
	}
	if _, err := b.WriteDir(filepath.Join(dir, "as-directory"), now); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(filepath.Join(dir, "as-directory", "a", "c.log")); string(got) != "password="+Redacted {
		t.Errorf("%s, %v", got, err)
	}
}

// unpacked are the files of an archive, and how many bytes they have.
func unpacked(t *testing.T, path string) (files map[string][]byte, total int) {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	zipped, err := gzip.NewReader(file)
	if err != nil {
		t.Fatal(err)
	}
	files = map[string][]byte{}
	for packed := tar.NewReader(zipped); ; {
		header, err := packed.Next()
		if errors.Is(err, io.EOF) {
			return files, total
		}
		content, readErr := io.ReadAll(packed)
		if err = errors.Join(err, readErr); err != nil {
			t.Fatal(err)
		}
		files[header.Name], total = content, total+len(content)
	}
}
