package admission

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/image-csi/image-csi-operator/internal/operator/render"
	"github.com/image-csi/image-csi-operator/test/internal/poll"
)

// administrator runs kubectl against an API server.
func administrator(t *testing.T, config *rest.Config) func(args ...string) (string, error) {
	t.Helper()
	program, dir := kubectl(t), t.TempDir()
	flags := []string{"--server=" + config.Host}
	for flag, content := range map[string][]byte{"certificate-authority": config.CAData, "client-certificate": config.CertData, "client-key": config.KeyData} {
		file := filepath.Join(dir, flag)
		if err := os.WriteFile(file, content, 0o600); err != nil {
			t.Fatal(err)
		}
		flags = append(flags, "--"+flag+"="+file)
	}
	return func(args ...string) (string, error) {
		command := exec.CommandContext(context.WithoutCancel(t.Context()), program, append(flags, args...)...)
		command.Env = append(os.Environ(), "KUBECONFIG="+filepath.Join(dir, "none"))
		out, err := command.CombinedOutput()
		return string(out), err
	}
}

// An installation in a namespace of its own name is deleted while a driver has the operator's finalizer, and again, because the
// first try deletes whatever no policy can guard. The operator is played. This takes some ten seconds, twice
// that on a busy machine.
func TestAnUninstallIsRefusedAtEveryTryUntilTheDriverIsGone(t *testing.T) {
	config, c := server(t)
	run := administrator(t, config)
	must := func(args ...string) string {
		t.Helper()
		out, err := run(args...)
		if err != nil {
			t.Fatalf("kubectl %q: %v: %s", args, err, out)
		}
		return out
	}
	dir := elsewhere(t)
	must("apply", "--server-side", "-k", dir)
	policy, binding := render.Guard(render.Settings{Namespace: "elsewhere", OperatorNamespace: "elsewhere"})
	for _, object := range []client.Object{policy, binding} {
		if err := c.Create(t.Context(), untyped(t, object)); err != nil {
			t.Fatal(err)
		}
	}
	held := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "storage.imagecsi.dev/v1alpha1", "kind": "ImageCSIDriver",
		"metadata": map[string]any{"name": driver, "finalizers": []any{"imagecsi.dev/cleanup"}}, "spec": map[string]any{}}}
	poll.Until(t, "a driver can be created", takesEffect, func() error { return c.Create(t.Context(), held.DeepCopy()) })
	poll.Until(t, "the guard holds", takesEffect, func() error {
		if c.Delete(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "elsewhere"}}, client.DryRunAll) == nil {
			return errors.New("the namespace may be deleted")
		}
		return nil
	})
	parts := []string{"namespace/elsewhere", "customresourcedefinition/imagecsidrivers.storage.imagecsi.dev", "clusterrole/image-csi-operator", "clusterrolebinding/image-csi-operator",
		"deployment/image-csi-operator", "serviceaccount/image-csi-operator", "role/image-csi-operator", "rolebinding/image-csi-operator"}
	for try := range 3 {
		out, err := run("delete", "-k", dir, "--ignore-not-found", "--timeout=30s")
		if said := strings.Count(out, `first run "kubectl delete imagecsidrivers --all"`); err == nil || said != len(parts) {
			t.Fatalf("try %d: %d of %d parts are guarded: %v: %s", try, said, len(parts), err, out)
		}
		must(append([]string{"get", "-n", "elsewhere", "-o", "name"}, parts...)...)
	}
	// An upgrade applies everything again, and deletes nothing.
	must("apply", "--server-side", "-k", dir)

	must("patch", "imagecsidriver", driver, "--type=merge", "-p", `{"metadata": {"finalizers": null}}`)
	must("delete", "imagecsidriver", driver)
	poll.Until(t, "the guard has seen that the driver is gone", takesEffect, func() error {
		return c.Delete(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "elsewhere"}}, client.DryRunAll)
	})
	must("delete", "-k", dir, "--wait=false")
}

func untyped(t *testing.T, object client.Object) *unstructured.Unstructured {
	t.Helper()
	fields, err := runtime.DefaultUnstructuredConverter.ToUnstructured(object)
	if err != nil {
		t.Fatal(err)
	}
	return &unstructured.Unstructured{Object: fields}
}
