package e2e

import (
	"fmt"
	"strings"
	"testing"

	"github.com/image-csi/image-csi-operator/test/internal/poll"
)

// uninstallTooEarly deletes what was installed while there is a driver, twice, because the first try takes away what nothing
// can guard: policies. It takes about ten seconds.
func uninstallTooEarly(t *testing.T, s *suite) {
	operator := []string{"-n", operatorNamespace, "get", "pods", "-l", "app.kubernetes.io/component=manager", "-o", "jsonpath={.items[*].metadata.uid}"}
	before := s.must(t, operator...)
	for range 2 {
		_, err := s.kubectl(t.Context(), "", "delete", "-k", "config/default", "--timeout=60s")
		if err == nil || !strings.Contains(err.Error(), `first run "kubectl delete imagecsidrivers --all"`) || !strings.Contains(err.Error(), "ImageCSIDriver "+driver+" still exists") {
			t.Fatalf("the uninstall is not refused: %v", err)
		}
		for _, part := range installation(s.namespace) {
			s.must(t, append([]string{"get", "-o", "name"}, part...)...)
		}
	}
	if after := s.must(t, operator...); after != before {
		t.Errorf("the operator's pods were %s and are %s", before, after)
	}
	for class := range nodes() {
		if got := s.run(t, "reader-"+class, "cat", "/image/hello.txt"); got != strings.TrimSpace(known) {
			t.Errorf("%s: after the refused uninstall /image/hello.txt holds %q", class, got)
		}
	}
	// The operator has its rights, and repairs what is deleted one by one.
	const guard = "validatingadmissionpolicy/image-csi-uninstall"
	uid := s.must(t, "get", guard, "-o", "jsonpath={.metadata.uid}")
	s.must(t, "delete", guard)
	poll.Until(t, "the guard is back", soon, func() error {
		now, err := s.kubectl(t.Context(), "", "get", guard, "-o", "jsonpath={.metadata.uid}")
		if err == nil && now == uid {
			err = fmt.Errorf("it is still the one that was deleted")
		}
		return err
	})
	s.must(t, "apply", "--server-side", "-k", "config/default") // as the manual says
}

// uninstall deletes what was installed when its driver is gone, and an installation that never had one. It takes about half a
// minute, most of which Kubernetes takes to delete the namespace.
func uninstall(t *testing.T, s *suite) {
	for first := true; ; first = false {
		s.must(t, "delete", "-k", "config/default", "--timeout=120s")
		for _, part := range installation(s.namespace) {
			s.waitFor(t, soon, "", append([]string{"get", "--ignore-not-found", "-o", "name"}, part...)...)
		}
		s.waitFor(t, soon, "", "get", "validatingadmissionpolicies,validatingadmissionpolicybindings", "-l", "app.kubernetes.io/part-of=image-csi-operator", "-o", "name")
		if !first {
			return
		}
		s.cluster.Install(t)
	}
}

// installation is what the operator cannot do without, as arguments of kubectl get.
func installation(namespace string) [][]string {
	return [][]string{
		{"namespace", namespace, operatorNamespace},
		{"customresourcedefinition", "imagecsidrivers.storage.imagecsi.dev"},
		{"clusterrole,clusterrolebinding", "image-csi-operator"},
		{"-n", operatorNamespace, "deployment,serviceaccount", "image-csi-operator"},
		{"-n", namespace, "role,rolebinding", "image-csi-operator"},
	}
}
