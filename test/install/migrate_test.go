package install

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// legacyChart is as much of the legacy driver's chart as can be seen of it in a cluster without its programs: its name, values that its
// documentation has, its CSIDriver object, and a DaemonSet with its flags.
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
	"templates/daemonset.yaml": `
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: "{{ .Release.Name }}-nodeplugin", namespace: "{{ .Release.Namespace }}"}
spec:
  selector: {matchLabels: {app: legacy}}
  template:
    metadata: {labels: {app: legacy}}
    spec:
      nodeSelector: {{ toYaml .Values.nodeSelector | nindent 8 }}
      tolerations: {{ toYaml .Values.tolerations | nindent 8 }}
      affinity: {{ toYaml .Values.affinity | nindent 8 }}
      containers:
        - name: registrar
          image: example.com/csi-node-driver-registrar:v2
          args: ["--kubelet-registration-path={{ .Values.kubeletRoot }}/plugins/container-image.csi.k8s.io/csi.sock"]
        - name: plugin
          image: example.com/container-image-csi-driver:v2.1.9
          args: [--endpoint=unix:///csi/csi.sock, --node=n1, "--runtime-addr=containerd://{{ .Values.runtime.socketPath }}", "-v={{ .Values.logLevel }}"]
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

	p.must(t, "kubectl -n storage rollout status daemonset/legacy-nodeplugin --timeout=1m")
	for _, want := range []string{"read: DaemonSet storage/legacy-nodeplugin", "becomes: kubeletRoot: spec.nodeClasses[containerd].kubeletRoot", "plan: node n1: the legacy driver's pod leaves"} {
		p.must(t, "kubectl imagecsi migrate --daemonset storage/legacy-nodeplugin 2>&1 >/dev/null | grep -F '"+strings.ReplaceAll(want, "'", `'\''`)+"'")
	}
	p.refused(t, "kubectl imagecsi migrate --apply", "do what its lines say, and go on with --apply -f driver.yaml")
	done := p.must(t, "kubectl imagecsi migrate --apply -f driver.yaml --timeout 2m")
	if !strings.Contains(done, "helm --namespace storage uninstall legacy") {
		t.Errorf("the handover does not say how to remove the release:\n%s", done)
	}
	p.want(t, "kubectl -n storage get pods -l app=legacy -o name", "")
	p.must(t, "kubectl wait --for=condition=Available --timeout=5m imagecsidriver/container-image.csi.k8s.io")
	p.must(t, "kubectl -n image-csi-system get daemonset container-image.csi.k8s.io-containerd -o jsonpath='{.spec.template.spec.hostNetwork}' | grep true")
	p.must(t, "helm --namespace storage uninstall legacy")
	p.must(t, "kubectl wait --for=create --timeout=1m csidriver/container-image.csi.k8s.io")
	p.must(t, "kubectl delete imagecsidrivers --all && kubectl delete -f install.yaml && kubectl delete namespace storage")
}
