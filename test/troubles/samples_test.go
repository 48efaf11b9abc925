package troubles

import (
	"os"
	"path/filepath"
	"testing"
)

// sample is a file of config/samples, and commands that show that it does what it is for, and end it.
type sample struct {
	file   string
	checks []string
}

// samples are those of pods. Those of drivers have tests in cmd/manager, and the sandbox's pod is that of docs/sandboxes.md, which package e2e
// runs.
func samples() []sample {
	return []sample{
		{"pod_with_image_volume.yaml", []string{
			"kubectl wait --for=condition=Ready --timeout=2m pod/reader",
			"kubectl exec reader -- test -e /image/bin/busybox",
			"kubectl delete pod reader",
		}},
		{"deployment.yaml", []string{
			"kubectl rollout status deployment/site --timeout=2m",
			"kubectl exec deployment/site -- wget -q -O /dev/null http://127.0.0.1:8080/bin/busybox",
			"kubectl delete deployment site",
		}},
		{"statefulset_with_claims.yaml", []string{
			"kubectl rollout status statefulset/workers --timeout=2m",
			"kubectl exec workers-1 -- test -e /tools/bin/busybox",
			"kubectl delete statefulset workers",
			"kubectl wait --for=delete pvc/tools-workers-0 pvc/tools-workers-1 --timeout=2m",
			"kubectl delete storageclass image-volumes",
		}},
		{"job_with_workspace.yaml", []string{
			"kubectl wait --for=condition=Complete --timeout=2m job/build",
			`test "$(kubectl logs job/build)" = built`,
			"kubectl delete job build",
		}},
		{"pod_private_registry.yaml", []string{
			"kubectl wait --for=condition=Ready --timeout=2m pod/private-reader",
			"kubectl exec private-reader -- cat /data/hello.txt",
			"kubectl delete pod/private-reader secret/team-registry",
		}},
	}
}

// trySamples applies every sample, and wants it to do what it is for. Elsewhere are those that this cluster cannot have.
func trySamples(t *testing.T, s *suite) {
	elsewhere := []string{"kustomization.yaml", "pod_sandbox.yaml", "storage_v1alpha1_imagecsidriver.yaml", "storage_v1alpha1_imagecsidriver_full.yaml"}
	dir := filepath.Join(s.Root, "config/samples")
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(files) != len(samples())+len(elsewhere) {
		t.Errorf("there are %d samples, of which %d are tried here, and %d elsewhere", len(files), len(samples()), len(elsewhere))
	}
	for _, sample := range samples() {
		t.Run(sample.file, func(t *testing.T) {
			t.Parallel()
			text, err := os.ReadFile(filepath.Join(dir, sample.file))
			if err != nil {
				t.Fatal(err)
			}
			s.Apply(t, s.here(string(text)))
			for _, check := range sample.checks {
				t.Logf("$ %s\n%s", check, s.MustShell(t, check))
			}
		})
	}
}
