package hardening

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/pod-security-admission/policy"
)

// Pod Security, by the library that the API server has of it: testdata/pod-security.yaml says which of its checks node plugins do not
// pass. Whatever is not a node plugin passes them all, so its namespace can enforce the level restricted.
func TestPodSecurity(t *testing.T) {
	var subjects []string
	found := findings{}
	look := func(name string, pods []corev1.PodTemplateSpec) {
		if len(pods) != 1 {
			t.Fatalf("%s: %d pods", name, len(pods))
		}
		subjects = append(subjects, name)
		for _, check := range policy.DefaultChecks() {
			latest := check.Versions[len(check.Versions)-1]
			if !latest.CheckPod(&pods[0].ObjectMeta, &pods[0].Spec).Allowed {
				found.add(fmt.Sprintf("%s (%s)", check.ID, check.Level), name)
			}
		}
	}
	look("manager", podsOf(t, manifests(t, "default")...))
	look("manager/bundle", podsOf(t, bundled(t)))
	plugins := nodePlugins(t)
	for _, name := range slices.Sorted(maps.Keys(plugins)) {
		look(name, podsOf(t, plugins[name]...))
	}
	hold(t, "pod-security.yaml", subjects, found)
}
