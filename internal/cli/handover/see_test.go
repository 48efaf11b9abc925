package handover

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"
)

// objects are what a cluster has in the middle of a handover: n1 is handed over, n2 has both drivers, n3 waits, n4 is excluded, n5 cannot
// have the driver, and n6 does not report.
const objects = `
Driver: {metadata: {name: container-image.csi.k8s.io}, spec: {nodePlugin: {nodeSelector: {linux: "yes"}}}, status: {problems: [{node: n2, message: no image}]}}
Sets:
- Names: [container-image.csi.k8s.io]
  metadata: {namespace: storage, name: nodes, uid: legacy, generation: 3, annotations: {imagecsi.dev/handover: '{"csiDrivers": [{"metadata": {"name": "gone"}}, {"metadata": {"name": "there"}}]}'}}
  spec: {updateStrategy: {type: OnDelete}, template: {spec: {nodeSelector: {imagecsi.dev/legacy-driver: Keep, linux: "yes"}}}}
  status: {observedGeneration: 3, currentNumberScheduled: 5, desiredNumberScheduled: 5}
CSIDrivers: [{metadata: {name: there}}]
Nodes:
- {metadata: {name: n3, labels: {linux: "yes", imagecsi.dev/legacy-driver: Keep, imagecsi.dev/exclude: handover}}, status: &up {conditions: [{type: Ready, status: "True"}], nodeInfo: &info {operatingSystem: linux, containerRuntimeVersion: "containerd://2.1.4"}}}
- {metadata: {name: n1, labels: {linux: "yes"}}, status: *up}
- {metadata: {name: n2, labels: {linux: "yes", imagecsi.dev/legacy-driver: Keep}}, status: *up}
- {metadata: {name: n4, labels: {linux: "yes", imagecsi.dev/legacy-driver: Keep, imagecsi.dev/exclude: "true"}}, status: *up}
- {metadata: {name: n5, labels: {imagecsi.dev/exclude: "false"}}, status: *up}
- {metadata: {name: n6, labels: {linux: "yes"}}, status: {conditions: [{type: Ready, status: Unknown}], nodeInfo: {operatingSystem: linux, containerRuntimeVersion: "docker://27"}}}
CSINodes:
- {metadata: {name: n1}, spec: {drivers: [{name: container-image.csi.k8s.io}]}}
- {metadata: {name: n2}, spec: {drivers: [{name: other}]}}
Plugins:
- {spec: {nodeName: n1}, status: &ready {conditions: [{type: Ready, status: "True"}]}}
- {spec: {nodeName: n2}, status: {conditions: [{type: Ready, status: "False"}]}}
- {spec: {nodeName: n6}, status: {phase: Failed, conditions: [{type: Ready, status: "True"}]}}
Pods:
- {metadata: &owned {ownerReferences: [{controller: true, uid: legacy}]}, spec: {nodeName: n2}, status: *ready}
- {metadata: *owned, spec: {affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchFields: [{key: metadata.name, operator: In, values: [n3]}]}]}}}}}
- {metadata: {deletionTimestamp: "2026-01-01T00:00:00Z", ownerReferences: [{controller: true, uid: legacy}]}, spec: {nodeName: n4}, status: *ready}
- {spec: {nodeName: n5}, status: *ready}
`

func read(t *testing.T, replacements ...string) (Cluster, error) {
	t.Helper()
	var o Objects
	if err := yaml.Unmarshal([]byte(strings.NewReplacer(replacements...).Replace(objects)), &o); err != nil {
		t.Fatal(err)
	}
	return See(o)
}

func TestWhatMattersOfTheObjects(t *testing.T) {
	got, err := read(t)
	if err != nil {
		t.Fatal(err)
	}
	names := []string{name}
	want := Cluster{
		Driver: Driver{Name: name, Names: names, Exists: true, Managed: true},
		Names:  names,
		Sets:   []Set{{Namespace: "storage", Name: "nodes", Prepared: true, Settled: true}},
		Lost:   []string{"gone"},
		Nodes: []Node{
			{Name: "n1", Reports: true, Fits: true, Ours: Ready, Legacy: Absent, OursRegistered: true, LegacyRegistered: true},
			{Name: "n2", Keep: true, Reports: true, Fits: true, Ours: Present, Legacy: Ready, Problem: "no image"},
			{Name: "n3", Keep: true, Held: true, Reports: true, Fits: true, Ours: Absent, Legacy: Present},
			{Name: "n4", Keep: true, Excluded: true, Reports: true, Fits: true, Ours: Absent, Legacy: Present},
			{Name: "n5", Reports: true, Ours: Absent, Legacy: Absent, Why: "spec.nodePlugin of ImageCSIDriver " + name + " does not select it"},
			{Name: "n6", Fits: true, Ours: Absent, Legacy: Absent, Why: got.Nodes[5].Why},
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if why := got.Nodes[5].Why; !strings.Contains(why, "docker") {
		t.Errorf("n6: %q", why)
	}
}

func TestADaemonSetThatSomebodyPutBackIsNotPrepared(t *testing.T) {
	for _, change := range [][2]string{{"{type: OnDelete}", "{type: RollingUpdate}"}, {"{imagecsi.dev/legacy-driver: Keep, linux: \"yes\"}}", "{linux: \"yes\"}}"},
		{`'{"csiDrivers": [{"metadata": {"name": "gone"}}, {"metadata": {"name": "there"}}]}'`, `""`}} {
		if got, err := read(t, change[0], change[1]); err != nil || got.Sets[0].Prepared {
			t.Errorf("%s: prepared, error %v", change[1], err)
		}
	}
	if got, err := read(t, "observedGeneration: 3", "observedGeneration: 2"); err != nil || got.Sets[0].Settled {
		t.Errorf("settled, error %v", err)
	}
	if _, err := read(t, `'{"csiDrivers"`, `'{"csiDrivers`); err == nil || !strings.Contains(err.Error(), "DaemonSet storage/nodes: read the annotation") {
		t.Errorf("error %v", err)
	}
}

func TestADriverThatIsWantedIsSeenAsOneThatDoesNotExist(t *testing.T) {
	got, err := read(t, "Driver: {", "Wanted: {")
	if err != nil || got.Driver.Exists || got.Driver.Name != name || got.Nodes[4].Why == "" {
		t.Errorf("%+v, error %v", got.Driver, err)
	}
	if got, err = read(t, "Driver: {", "Nobody: {"); err != nil || got.Driver.Name != "" || got.Nodes[4].Why != "" || got.Nodes[0].OursRegistered {
		t.Errorf("%+v, error %v", got, err)
	}
}
