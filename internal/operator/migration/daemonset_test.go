package migration

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"
)

// plainManifest is a DaemonSet as the legacy driver's flags and its registrar's have it, with nothing set that has a default.
const plainManifest = `
apiVersion: apps/v1
kind: DaemonSet
metadata: {namespace: storage, name: csi-nodes}
spec:
  template:
    spec:
      serviceAccountName: csi
      nodeSelector: {kubernetes.io/os: linux}
      containers:
        - name: registrar
          image: registry.k8s.io/sig-storage/csi-node-driver-registrar:v2
          args: [--csi-address=/csi/csi.sock, --kubelet-registration-path=/var/lib/kubelet/plugins/container-image.csi.k8s.io/csi.sock]
        - name: plugin
          image: mirror.corp/warmmetal/container-image-csi-driver:v2.1.9
          args: [--endpoint=$(ADDRESS), --node, $(NODE), "--runtime-addr=containerd:///run/containerd/containerd.sock", -v=4]
          env: [{name: ADDRESS, value: "unix:///csi/csi.sock"}, {name: NODE, valueFrom: {fieldRef: {fieldPath: spec.nodeName}}}]
      volumes: [{name: kubelet, hostPath: {path: /var/lib/kubelet}}]
`

// manifest is the plain one with replacements, in pairs.
func manifest(t *testing.T, replacements ...string) *appsv1.DaemonSet {
	t.Helper()
	for i := 0; i < len(replacements); i += 2 {
		if !strings.Contains(plainManifest, replacements[i]) {
			t.Fatalf("the manifest has no %q", replacements[i])
		}
	}
	var set appsv1.DaemonSet
	if err := yaml.UnmarshalStrict([]byte(strings.NewReplacer(replacements...).Replace(plainManifest)), &set); err != nil {
		t.Fatal(err)
	}
	return &set
}

func TestADaemonSetOfTheLegacyDriverIsKnownByWhatItIsTold(t *testing.T) {
	for name, test := range map[string]struct {
		set   *appsv1.DaemonSet
		names []string
		err   error
		says  string
	}{
		"release 2.1": {set: manifest(t), names: []string{"container-image.csi.k8s.io"}},
		"release 1.2": {set: manifest(t, "plugins/container-image.csi.k8s.io", "plugins/csi-image.warm-metal.tech", "container-image-csi-driver:v2.1.9", "csi-image@sha256:abc",
			"--runtime-addr=containerd://", "--containerd-addr=unix://"), names: []string{"csi-image.warm-metal.tech"}},
		"a path in a variable": {set: manifest(t, "--kubelet-registration-path=/var/lib/kubelet/plugins/container-image.csi.k8s.io/csi.sock]",
			"--kubelet-registration-path=$(PATH)]\n          env: [{name: PATH, value: /var/lib/kubelet/plugins/container-image.csi.k8s.io/csi.sock}]"),
			names: []string{"container-image.csi.k8s.io"}},
		"another image":  {set: manifest(t, "container-image-csi-driver:v2.1.9", "images:1"), names: []string{"container-image.csi.k8s.io"}, err: ErrOtherImage, says: "mirror.corp/warmmetal/images:1"},
		"another driver": {set: manifest(t, "plugins/container-image.csi.k8s.io", "plugins/nfs.csi.k8s.io"), err: ErrOtherDriver, says: "--kubelet-registration-path"},
		"other flags":    {set: manifest(t, "--runtime-addr=", "--server="), err: ErrOtherDriver, says: "--runtime-addr"},
		"the controller": {set: manifest(t, "-v=4", "--mode=controller"), err: ErrOtherDriver, says: "--runtime-addr"},
		"ours":           {set: manifest(t, "name: csi-nodes", "name: csi-nodes, labels: {imagecsi.dev/driver: d}"), err: ErrOtherDriver, says: "ImageCSIDriver d"},
	} {
		names, err := DriverNamesOf(test.set)
		if diff := cmp.Diff(test.names, names); diff != "" || !errors.Is(err, test.err) || err != nil && !strings.Contains(err.Error(), test.says) {
			t.Errorf("%s: %v, error %v", name, names, err)
		}
	}
}

// What a DaemonSet is told becomes the driver that the values of a release become.
func TestAnInstallationWithoutHelmBecomesADriver(t *testing.T) {
	const own = `
      tolerations: [{key: gpu, operator: Exists}]
      hostNetwork: true
      affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchExpressions: [{key: pool, operator: NotIn, values: [edge]}]}]}}}`
	registry := &corev1.ServiceAccount{ImagePullSecrets: []corev1.LocalObjectReference{{Name: "registry"}}}
	for name, test := range map[string]struct {
		set     *appsv1.DaemonSet
		account *corev1.ServiceAccount
		want    string
	}{
		"nothing but defaults": {manifest(t), &corev1.ServiceAccount{}, "{}"},
		"everything": {manifest(t, "-v=4", "-v=5, --metrics-port=9090, --image-credential-provider-config=/etc/p.yaml, --image-credential-provider-bin-dir=/opt/p",
			"      serviceAccountName: csi", own[1:]+"\n      serviceAccountName: csi", "kubernetes.io/os: linux}", "example.com/pool: a, imagecsi.dev/legacy-driver: Keep}", "/var/lib/kubelet/plugins", "/data/kubelet/plugins",
			"fieldPath: spec.nodeName}}}]", "fieldPath: spec.nodeName}}}, {name: CSI_SELINUX_CONTEXT, value: 'system_u:object_r:own_t:s0'}]\n          resources: {limits: {memory: 1Gi}}"),
			registry, `{nodeClasses: [{name: containerd, kubeletRoot: /data/kubelet, network: Host}], credentials: {secrets: [{name: registry}],
				providers: {configPath: /etc/p.yaml, binDir: /opt/p}}, nodePlugin: {logLevel: Debug, httpPort: 9090, resources: {limits: {memory: 1Gi}},
				confinement: {volumeSELinuxOptions: {type: own_t, level: s0}}, tolerations: [{key: gpu, operator: Exists}], nodeSelector: {example.com/pool: a},
				nodeSelectorTerms: [{matchExpressions: [{key: pool, operator: NotIn, values: [edge]}]}]}}`},
		"CRI-O, account not known": {manifest(t, "containerd:///run/containerd/containerd.sock", "cri-o:///run/other/crio.sock", "hostPath: {path: /var/lib/kubelet}", "hostPath: {path: /data/storage}"), nil,
			"{nodeClasses: [{name: crio, runtimeEndpoint: 'unix:///run/other/crio.sock', storageRoot: /data/storage}]}"},
	} {
		plan := PlanOf(Installation{Values: ValuesOf(test.set, test.account), Namespace: "storage"})
		got := spec(t, plan)
		if got == nil {
			got = map[string]any{}
		}
		if diff := cmp.Diff(values(t, test.want), got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
		for _, note := range plan.Notes {
			if strings.Contains(note.Text, "is not a value") || strings.Contains(note.Text, "cannot be read") {
				t.Errorf("%s: %s", name, note)
			}
		}
	}
}

func TestADaemonSetOfAnotherDriverHasNoValues(t *testing.T) {
	if got := ValuesOf(&appsv1.DaemonSet{}, nil); got != nil {
		t.Errorf("values %v", got)
	}
}
