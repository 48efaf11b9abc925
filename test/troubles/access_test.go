package troubles

import (
	"testing"

	"github.com/image-csi/image-csi-operator/hack/cluster"
)

const readOnly = "readOnly: true"

// withSecret has a volume name a secret with credentials.
func withSecret(name string) string { return "nodePublishSecretRef: {name: " + name + "}" }

// createSecret makes a registry secret.
func createSecret(t *testing.T, s *suite, namespace, name, password string) {
	t.Helper()
	s.Must(t, "-n", namespace, "create", "secret", "docker-registry", name, "--docker-server="+s.Registry(), "--docker-username=alice", "--docker-password="+password)
}

// accessTroubles are those with credentials.
func accessTroubles(s *suite) []trouble {
	image := s.Registry() + "/" + private
	password := credentials(cluster.RegistryPassword("alice"))
	create := "kubectl -n " + team + " create secret docker-registry "
	return []trouble{
		{
			name: "the password in the registry's secret is wrong",
			make: func(t *testing.T, s *suite) {
				createSecret(t, s, team, "outdated", "yesterday")
				s.Apply(t, pod("wrong-password", volume(image, readOnly, withSecret("outdated"))))
			},
			asks: []question{why("pod/wrong-password", "(AccessDenied)", image, "the registry refuses it")},
			cure: func(t *testing.T, a answer) {
				a.run(t, "kubectl -n "+team+" delete secret outdated")
				a.run(t, create+"outdated", password...)
			},
			well: "pod/wrong-password",
		},
		{
			name: "the secret does not exist",
			make: applies(pod("no-secret", volume(image, readOnly, withSecret("missing")))),
			asks: []question{why("pod/no-secret", "(SecretMissing)", "secret "+team+"/missing")},
			cure: func(t *testing.T, a answer) {
				a.run(t, create+"missing", append(password, "REGISTRY", s.Registry())...)
			},
			well: "pod/no-secret",
		},
		{
			name: "the secret is in another namespace",
			make: func(t *testing.T, s *suite) {
				createSecret(t, s, "default", "elsewhere", cluster.RegistryPassword("alice"))
				s.Apply(t, pod("far-secret", volume(image, readOnly, withSecret("elsewhere"))))
			},
			asks: []question{why("pod/far-secret", "(SecretMissing)", "secret "+team+"/elsewhere", "does not exist")},
			cure: func(t *testing.T, a answer) { a.run(t, create+"elsewhere", password...) },
			well: "pod/far-secret",
		},
		{
			name: "the pod has imagePullSecrets and its volume none",
			make: applies(pod("pull-secret", volume(image, readOnly), "imagePullSecrets: [{name: registry}]")),
			asks: []question{why("pod/pull-secret", "(AccessDenied)", "imagePullSecrets of the pod are not used for volumes", "nodePublishSecretRef: {name: SECRET}")},
			cure: func(t *testing.T, a answer) {
				a.run(t, create+"SECRET", password...)
				again("pull-secret", pod("pull-secret", volume(image, readOnly, withSecret("registry"))))(t, a)
			},
			well: "pod/pull-secret",
		},
	}
}
