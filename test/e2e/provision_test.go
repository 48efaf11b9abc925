package e2e

import (
	"fmt"
	"strings"
	"testing"
)

// storageClass is one of the driver's.
func storageClass(name string) string {
	return fmt.Sprintf("{apiVersion: storage.k8s.io/v1, kind: StorageClass, metadata: {name: %s}, provisioner: %s}", name, driver)
}

// claimOf is a claim of a class that names its image as users of the legacy driver do.
func claimOf(class, name, image string) string {
	return fmt.Sprintf(`
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: %s, annotations: {csi.storage.k8s.io/image: %q}}
spec:
  accessModes: [ReadOnlyMany]
  storageClassName: %s
  resources: {requests: {storage: 1Mi}}
`, name, image, class)
}

// claimGetsItsVolume has Kubernetes' own controllers bind claims to the volumes that the operator makes for them, and take
// the volumes back.
func claimGetsItsVolume(t *testing.T, s *suite) {
	claims := []string{"provisioned", "provisioned-too"}
	manifests := []string{storageClass("images")}
	for _, claim := range claims {
		manifests = append(manifests, claimOf("images", claim, knownImage))
	}
	for class := range nodes() {
		manifests = append(manifests, pod("claimant-"+class, class, claimed(claims[0]), claimed(claims[1])))
	}
	s.apply(t, manifests...)
	s.waitReady(t, onEach("claimant")...)
	for _, pod := range onEach("claimant") {
		if got := s.run(t, pod, "cat", "/image/hello.txt", "/image1/hello.txt"); got != strings.TrimSpace(known+known) {
			t.Errorf("%s: the claims' volumes hold %q", pod, got)
		}
		if out, err := s.exec(t, pod, "sh", "-c", "echo x >/image/hello.txt"); err == nil {
			t.Errorf("%s wrote to a volume that many only read: %s", pod, out)
		}
	}
	var volumes []string
	for _, claim := range claims {
		volume := s.must(t, "get", "pvc", claim, "-o", "jsonpath={.spec.volumeName}")
		volumes = append(volumes, volume)
		got := s.must(t, "get", "pv", volume, "-o", "jsonpath={.status.phase} {.spec.accessModes} {.spec.csi.driver} {.spec.csi.volumeHandle}")
		if want := fmt.Sprintf(`Bound ["ReadOnlyMany"] %s %s`, driver, volume); got != want {
			t.Errorf("the volume of claim %s is %q, want %q", claim, got, want)
		}
	}
	s.deletePods(t, onEach("claimant")...)
	s.must(t, append([]string{"delete", "pvc"}, claims...)...)
	s.must(t, append([]string{"wait", "pv", "--for=delete", "--timeout=60s"}, volumes...)...)
	s.must(t, "delete", "storageclass", "images")
}
