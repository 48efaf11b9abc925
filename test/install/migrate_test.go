package install

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// legacyChart is as much of the legacy driver's chart as can be seen of it in a cluster without its programs: its name, values that its
// documentation has, and its CSIDriver object.
var legacyChart = map[string]string{
	"Chart.yaml": "{apiVersion: v2, name: warm-metal-csi-driver, version: 2.1.9}",
	"values.yaml": `
runtime: {engine: containerd, socketPath: /run/containerd/containerd.sock}
kubeletRoot: /var/lib/kubelet
logLevel: 4
enableAsyncPull: true
pullImageSecretForDaemonset: ""
selinuxContext: "system_u:object_r:container_file_t:s0"
imageCredentialProvider: {enabled: false, configPath: "", binDir: ""}
csiPlugin: {hostNetwork: false, metricsPort: 8080, resources: {}}
tolerations: []
affinity: {}
nodeSelector: {}
podMonitor: {enabled: false, interval: 30s}
`,
	"templates/csidriver.yaml": `
apiVersion: storage.k8s.io/v1
kind: CSIDriver
metadata: {name: container-image.csi.k8s.io}
spec: {attachRequired: false, podInfoOnMount: true, fsGroupPolicy: None, volumeLifecycleModes: [Persistent, Ephemeral]}
`,
}

// ofTheUser are values with which every field of the plan is written.
const ofTheUser = `
csiPlugin: {hostNetwork: true, metricsPort: 9090, resources: {limits: {memory: 1Gi}}}
logLevel: 5
pullImageSecretForDaemonset: registry
selinuxContext: "system_u:object_r:container_file_t:s0:c1,c2"
imageCredentialProvider: {enabled: true, configPath: /etc/kubernetes/providers.yaml, binDir: /opt/providers}
kubeletRoot: /data/kubelet
tolerations: [{key: gpu, operator: Exists}]
nodeSelector: {kubernetes.io/os: linux}
affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchExpressions: [{key: pool, operator: NotIn, values: [edge]}]}]}}}
podMonitor: {enabled: true}
`

// fromTheLegacyDriver reads a release as Helm keeps it, has the API server take what is printed, and removes the release. It takes half
// a minute on an idle machine.
func fromTheLegacyDriver(t *testing.T, p *plane) {
	dir := t.TempDir()
	for file, text := range legacyChart {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, file)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	p.must(t, "helm install legacy "+dir+" --namespace storage --create-namespace --values - <<'E'"+ofTheUser+"E")
	p.must(t, "kubectl apply --server-side -f install.yaml && kubectl -n image-csi-operator rollout status deployment/image-csi-operator --timeout=2m")

	notes := p.must(t, "kubectl imagecsi migrate 2>&1 >driver.yaml")
	for _, want := range []string{"do: pullImageSecretForDaemonset: copy the secret", "kubectl -n storage get secret registry", "becomes: csiPlugin.hostNetwork: spec.nodeClasses[containerd].network",
		"becomes: kubeletRoot: spec.nodeClasses[containerd].kubeletRoot", "not needed: enableAsyncPull"} {
		if !strings.Contains(notes, want) {
			t.Errorf("migrate does not say %q:\n%s", want, notes)
		}
	}
	p.must(t, "helm --namespace storage get values legacy --all -o yaml | kubectl imagecsi migrate --values - 2>/dev/null | diff driver.yaml -")
	p.must(t, "kubectl imagecsi migrate --release legacy -n storage 2>/dev/null | diff driver.yaml -")
	p.refused(t, "kubectl imagecsi migrate --release other -n storage", "there is no deployed Helm release other in namespace storage")

	p.must(t, "kubectl apply -f driver.yaml && kubectl wait --for=condition=Available --timeout=5m imagecsidriver/container-image.csi.k8s.io")
	p.must(t, "kubectl -n image-csi-system get daemonset container-image.csi.k8s.io-containerd -o jsonpath='{.spec.template.spec.hostNetwork}' | grep true")
	p.must(t, "helm --namespace storage uninstall legacy")
	p.must(t, "kubectl wait --for=create --timeout=1m csidriver/container-image.csi.k8s.io")
	p.must(t, "kubectl delete imagecsidrivers --all && kubectl delete -f install.yaml && kubectl delete namespace storage")
}
