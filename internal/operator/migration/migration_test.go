package migration

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"github.com/image-csi/image-csi-operator/internal/operator/nodeclass"
)

func values(t *testing.T, text string) map[string]any {
	t.Helper()
	var out map[string]any
	if err := yaml.Unmarshal([]byte(text), &out); err != nil {
		t.Fatal(err)
	}
	return out
}

func node(runtime string, labels map[string]string) corev1.Node {
	n := corev1.Node{}
	n.Labels = labels
	n.Status.NodeInfo = corev1.NodeSystemInfo{OperatingSystem: "linux", ContainerRuntimeVersion: runtime, KubeletVersion: "v1.33.1", OSImage: "Debian GNU/Linux 12"}
	return n
}

// spec is that of the plan, as it is written.
func spec(t *testing.T, plan Plan) map[string]any {
	t.Helper()
	text, err := plan.YAML()
	if err != nil {
		t.Fatal(err)
	}
	var object struct{ Spec map[string]any }
	if err := yaml.Unmarshal(text, &object); err != nil {
		t.Fatal(err)
	}
	return object.Spec
}

func TestEachValueBecomesItsField(t *testing.T) {
	containerd, crio, k3s := node("containerd://2.1.4", nil), node("cri-o://1.33.0", nil), node("containerd://2.1.4-k3s1", nil)
	for name, test := range map[string]struct {
		values string
		nodes  []corev1.Node
		want   string // the spec
		notes  []string
	}{
		"the chart's own values": {values: `{runtime: {engine: containerd, socketPath: /run/containerd/containerd.sock}, kubeletRoot: /var/lib/kubelet,
			snapshotRoot: /var/lib/containerd/io.containerd.snapshotter.v1.overlayfs, crioRuntimeRoot: /var/lib/containers/storage, crioMountProgram: "", logLevel: 4,
			enableDaemonImageCredentialCache: true, enableAsyncPull: true, asyncPullTimeout: 10m, pullImageSecretForDaemonset: "",
			selinuxContext: "system_u:object_r:container_file_t:s0", imageCredentialProvider: {enabled: false, configPath: "", binDir: ""},
			csiPlugin: {hostNetwork: false, resources: {}, metricsPort: 8080, image: {repository: x, tag: v2}, livenessProbe: {periodSeconds: 5}},
			csiLivenessProbe: {image: {tag: v1}}, csiNodeDriverRegistrar: {image: {tag: v1}}, csiExternalProvisioner: {image: {tag: v1}},
			tolerations: [], affinity: {}, nodeSelector: {}, fullnameOverride: "", podMonitor: {enabled: false, interval: 30s, timeout: 10s}}`, want: "{}"},
		"the network of the node": {values: "{csiPlugin: {hostNetwork: true}}", nodes: []corev1.Node{containerd, k3s, crio, containerd},
			want: "{nodeClasses: [{name: containerd, network: Host}, {name: k3s, network: Host}]}", notes: []string{"becomes: csiPlugin.hostNetwork: spec.nodeClasses[k3s].network"}},
		"the network of nodes that nobody looked at": {values: "{csiPlugin: {hostNetwork: true}}", want: "{nodeClasses: [{name: containerd, network: Host}]}",
			notes: []string{"do: csiPlugin.hostNetwork: the nodes were not looked at"}},
		"the socket of k3s": {values: "{runtime: {engine: containerd, socketPath: /run/k3s/containerd/containerd.sock}, csiPlugin: {hostNetwork: true}}",
			want: "{nodeClasses: [{name: k3s, network: Host}]}", notes: []string{"not needed: runtime.socketPath"}},
		"other paths": {values: "{runtime: {engine: containerd, socketPath: 'unix:///run/docker/containerd.sock'}, kubeletRoot: /data/kubelet/}", nodes: []corev1.Node{containerd},
			want: "{nodeClasses: [{name: containerd, runtimeEndpoint: 'unix:///run/docker/containerd.sock', kubeletRoot: /data/kubelet}]}"},
		"CRI-O": {values: "{runtime: {engine: cri-o, socketPath: /run/crio/crio.sock}, crioRuntimeRoot: /data/storage, crioMountProgram: /usr/bin/fuse-overlayfs}", nodes: []corev1.Node{crio, containerd},
			want: "{nodeClasses: [{name: crio, storageRoot: /data/storage}]}", notes: []string{"no equal: crioMountProgram: layers are mounted by the kernel"}},
		"another runtime": {values: "{runtime: {engine: docker}}", want: "{}", notes: []string{"no equal: runtime.engine: docker is not supported"}},
		"what is shown":   {values: "{logLevel: 5, csiPlugin: {metricsPort: 9090}}", want: "{nodePlugin: {logLevel: Debug, httpPort: 9090}}"},
		"a low port":      {values: "{csiPlugin: {metricsPort: 80}}", want: "{}", notes: []string{"no equal: csiPlugin.metricsPort"}},
		"metrics": {values: "{podMonitor: {enabled: true, interval: 15s}}", want: "{nodePlugin: {compatibilityMetrics: Enabled}}",
			notes: []string{"no equal: podMonitor.interval: 15s; the operator's PodMonitor"}},
		"resources": {values: "{csiPlugin: {resources: {requests: {cpu: 100m}, limits: {memory: 1Gi}}}}", want: "{nodePlugin: {resources: {requests: {cpu: 100m}, limits: {memory: 1Gi}}}}"},
		"credentials": {values: "{pullImageSecretForDaemonset: registry, imageCredentialProvider: {enabled: true, configPath: /etc/p.yaml, binDir: /opt/p}}",
			want:  "{credentials: {secrets: [{name: registry}], providers: {configPath: /etc/p.yaml, binDir: /opt/p}}}",
			notes: []string{"do: pullImageSecretForDaemonset: copy the secret", "kubectl -n storage get secret registry", "changes: imageCredentialProvider: the programs run"}},
		"providers without paths": {values: "{imageCredentialProvider: {enabled: true}}", want: "{}", notes: []string{"do: imageCredentialProvider: is enabled without"}},
		"a label of files": {values: "{selinuxContext: 'system_u:object_r:own_t:s0:c1,c2'}",
			want: "{nodePlugin: {confinement: {volumeSELinuxOptions: {type: own_t, level: 's0:c1,c2'}}}}", notes: []string{"do: selinuxContext: the categories of s0:c1,c2 also"}},
		"no label": {values: "{selinuxContext: own_t}", want: "{}", notes: []string{"no equal: selinuxContext"}},
		"places": {values: `{tolerations: [{key: gpu, operator: Exists, effect: NoSchedule}], nodeSelector: {kubernetes.io/os: linux, example.com/pool: a},
			affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchExpressions: [{key: arch, operator: NotIn, values: [arm]}]}]}}}}`,
			want: `{nodePlugin: {tolerations: [{key: gpu, operator: Exists, effect: NoSchedule}], nodeSelector: {example.com/pool: a},
				nodeSelectorTerms: [{matchExpressions: [{key: arch, operator: NotIn, values: [arm]}]}]}}`},
		"an affinity that has no equal": {values: `{affinity: {podAntiAffinity: {requiredDuringSchedulingIgnoredDuringExecution: [{topologyKey: x}]},
			nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchExpressions: [{key: size, operator: Gt, values: ["3"]}]}]}}}}`,
			want: "{}", notes: []string{"do: affinity: spec.nodePlugin.nodeSelectorTerms", "no equal: affinity: affinity to other pods"}},
		"a value of neither chart": {values: "{csiPlugin: {extra: {a.b/c: 1}}}", want: "{}", notes: []string{"no equal: csiPlugin.extra.a.b/c: is not a value"}},
		"another type":             {values: "{logLevel: {a: b}}", want: "{}", notes: []string{"no equal: logLevel: cannot be read"}},
	} {
		t.Run(name, func(t *testing.T) {
			from := values(t, test.values)
			plan := PlanOf(Installation{Values: from, Namespace: "storage", Nodes: test.nodes})
			if diff := cmp.Diff(values(t, test.want), spec(t, plan), cmp.Transformer("none", func(m map[string]any) map[string]any {
				if len(m) == 0 {
					return nil
				}
				return m
			})); diff != "" {
				t.Errorf("spec (-want +got):\n%s", diff)
			}
			said := make([]string, 0, len(plan.Notes))
			for _, note := range plan.Notes {
				said = append(said, note.String())
			}
			for _, want := range test.notes {
				if !slices.ContainsFunc(said, func(note string) bool { return strings.Contains(note, want) }) {
					t.Errorf("no note %q in\n%s", want, strings.Join(said, "\n"))
				}
			}
			for _, path := range paths(from) {
				if !slices.ContainsFunc(plan.Notes, func(n Note) bool { return n.Value != "" && (path == n.Value || strings.HasPrefix(path, n.Value+".")) }) && !says(from, path, false) {
					t.Errorf("nothing is said of %s", path)
				}
			}
			if diff := cmp.Diff(values(t, test.values), from); diff != "" {
				t.Errorf("the values have changed:\n%s", diff)
			}
		})
	}
}

// says reports whether a value is the one given, as a switch that is off, of which there is nothing to say.
func says(from map[string]any, path string, want any) bool {
	value, _ := take(from, path)
	return value == want || strings.HasPrefix(path, "podMonitor.")
}

func TestAnInstallationKeepsItsNames(t *testing.T) {
	for name, test := range map[string]struct {
		has     []string
		want    string
		aliases int
	}{
		"of release 2.1": {[]string{"container-image.csi.k8s.io"}, "container-image.csi.k8s.io", 0},
		"of release 1.2": {[]string{"csi-image.warm-metal.tech"}, "csi-image.warm-metal.tech", 0},
		"both":           {[]string{"csi-image.warm-metal.tech", "container-image.csi.k8s.io"}, "container-image.csi.k8s.io", 1},
		"not known":      {nil, "container-image.csi.k8s.io", 0},
	} {
		plan := PlanOf(Installation{DriverNames: test.has})
		if plan.Driver.Name != test.want || len(plan.Driver.Spec.Aliases) != test.aliases {
			t.Errorf("%s: %s with aliases %v", name, plan.Driver.Name, plan.Driver.Spec.Aliases)
		}
	}
}

func TestWhatNeedsActionComesFirst(t *testing.T) {
	plan := PlanOf(Installation{Values: values(t, "{logLevel: 2, csiPlugin: {hostNetwork: true}, pullImageSecretForDaemonset: a, crioMountProgram: x}")})
	last := -1
	for _, note := range plan.Notes {
		at := slices.Index([]Kind{Action, Unmatched, Changed, Mapped, Unneeded}, note.Kind)
		if at < last {
			t.Errorf("%s comes too late", note)
		}
		last = at
	}
	if last != 4 {
		t.Errorf("notes %v", plan.Notes)
	}
	text, err := plan.YAML()
	if err != nil || strings.Contains(string(text), "status") || strings.Contains(string(text), "creationTimestamp") || !strings.HasPrefix(string(text), "apiVersion: storage.imagecsi.dev/v1alpha1\nkind: ImageCSIDriver\n") {
		t.Errorf("%v\n%s", err, text)
	}
	if _, known := nodeclass.NewTable(nil).Lookup(plan.Driver.Spec.NodeClasses[0].Name); !known {
		t.Errorf("node classes %v", plan.Driver.Spec.NodeClasses)
	}
}

// The page has a table of them.
func TestThePageHasEveryValue(t *testing.T) {
	page, err := os.ReadFile("../../../docs/install/migrate.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, rule := range rules() {
		if !strings.Contains(string(page), "`"+rule.value+"`") {
			t.Errorf("docs/install/migrate.md lacks %s", rule.value)
		}
	}
}
