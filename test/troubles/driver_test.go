package troubles

import (
	"fmt"
	"testing"

	"github.com/image-csi/image-csi-operator/test/internal/clusters"
)

// reason asks for the reason of a driver's condition Degraded.
func reason(driver string) []string {
	return []string{"get", "imagecsidriver", driver, "-o", `jsonpath={.status.conditions[?(@.type=="Degraded")].reason}`}
}

// undegraded waits until a driver's Degraded is False.
func (s *suite) undegraded(t *testing.T, driver string) {
	t.Helper()
	s.WaitFor(t, late, "AsExpected", reason(driver)...)
}

// patch changes a driver's spec.
func (s *suite) patch(t *testing.T, driver, spec string) {
	t.Helper()
	s.Must(t, "patch", "imagecsidriver", driver, "--type=merge", "-p", `{"spec": `+spec+`}`)
}

// pluginsOf are the UIDs of a driver's node plugins on a node.
func (s *suite) pluginsOf(t *testing.T, driver, node string) string {
	t.Helper()
	return s.Must(t, "-n", clusters.PluginNamespace, "get", "pods", "-l", "imagecsi.dev/driver="+driver, "--field-selector", "spec.nodeName="+node, "-o", "jsonpath={.items[*].metadata.uid}")
}

// driverTroubles are those with the installation.
func driverTroubles() []trouble {
	held := ""
	return []trouble{
		{
			name: "a change of the driver fails on its canary",
			make: func(t *testing.T, s *suite) {
				held = s.pluginsOf(t, driver, "n2")
				s.patch(t, driver, `{"nodePlugin": {"priorityClassName": "no-such-class"}}`)
			},
			asks: []question{admin("imagecsi status "+driver, "Degraded", "RolloutFailed", "failed on node n1", "no PriorityClass with name no-such-class")},
			cure: func(t *testing.T, a answer) {
				if now := a.suite.pluginsOf(t, driver, "n2"); now != held {
					t.Errorf("the node plugin of n2 was %q and is %q: a change that failed on n1 has reached it", held, now)
				}
				a.suite.patch(t, driver, `{"nodePlugin": {"priorityClassName": null}}`)
				a.suite.undegraded(t, driver)
			},
		},
		{
			name: "the namespace of the node plugins does not allow them",
			make: func(t *testing.T, s *suite) {
				s.Must(t, "label", "--overwrite", "namespace", clusters.PluginNamespace, "pod-security.kubernetes.io/enforce=baseline")
				s.Must(t, "-n", clusters.PluginNamespace, "delete", "pod", "-l", "imagecsi.dev/driver="+strict, "--field-selector", "spec.nodeName=n2", "--wait")
			},
			asks: []question{admin("imagecsi doctor", "the Pod Security level of namespace "+clusters.PluginNamespace+" is baseline", "[pod-security]")},
			cure: func(t *testing.T, a answer) {
				a.run(t, "kubectl label --overwrite namespace "+clusters.PluginNamespace)
				a.suite.WaitFor(t, late, "3", "get", "imagecsidriver", strict, "-o", "jsonpath={.status.nodes.ready}")
				a.suite.Must(t, "-n", clusters.PluginNamespace, "wait", "pod", "-l", "imagecsi.dev/driver="+strict, "--for=condition=Ready", "--timeout=2m")
			},
		},
		{
			name: "the policies are not in effect",
			make: func(t *testing.T, s *suite) {
				s.Must(t, "delete", "validatingadmissionpolicybinding", "image-csi-volume-images")
			},
			asks: []question{
				admin("imagecsi status "+strict, "PolicyNotInEffect"),
				admin("imagecsi doctor", "the admission policies are not in effect", "[policies]"),
			},
			cure: func(t *testing.T, a answer) {
				a.run(t, "kubectl apply --server-side -k config/admission")
				a.suite.undegraded(t, strict)
			},
		},
		{
			name: "two drivers have one name",
			make: func(t *testing.T, s *suite) {
				s.Apply(t, "{apiVersion: storage.imagecsi.dev/v1alpha1, kind: ImageCSIDriver, metadata: {name: third.example.com}, spec: {aliases: ["+strict+"]}}")
			},
			asks: []question{admin("imagecsi status third.example.com", "NameConflict", strict)},
			cure: func(t *testing.T, a answer) {
				a.suite.patch(t, "third.example.com", `{"aliases": null}`)
				a.suite.undegraded(t, "third.example.com")
				a.suite.Must(t, "delete", "imagecsidriver", "third.example.com", "--timeout=2m")
			},
		},
		{
			name: "somebody has loosened a node plugin's confinement",
			make: func(t *testing.T, s *suite) {
				s.Must(t, "-n", clusters.PluginNamespace, "patch", "daemonset", driver+"-containerd", "-p", `{"spec": {"template": {"spec": {"hostPID": true}}}}`)
			},
			asks: []question{admin("imagecsi status "+driver, "LessConfined", "hostPID", "Undo the change there")},
			cure: func(t *testing.T, a answer) {
				a.suite.Must(t, "-n", clusters.PluginNamespace, "patch", "daemonset", driver+"-containerd", "--type=json",
					"-p", `[{"op": "remove", "path": "/spec/template/spec/hostPID"}]`)
				a.suite.undegraded(t, driver)
			},
		},
		{
			name: "there is no driver",
			make: func(t *testing.T, s *suite) {
				s.Must(t, "delete", "imagecsidrivers", "--all", "--timeout=3m")
				s.Apply(t, pod("nothing", volume(tools, readOnly)))
			},
			asks: []question{
				admin("imagecsi why pod/nothing -n "+team, "(DriverNotInstalled)", fmt.Sprintf("this cluster has no CSI driver %s", driver)),
				admin("imagecsi doctor", "there is no ImageCSIDriver", "[operator]"),
			},
			cure: func(t *testing.T, a answer) { a.run(t, "kubectl apply -f config/samples/") },
			well: "pod/nothing",
		},
	}
}
