package command

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/image-csi/image-csi-operator/api/v1alpha1"
	"github.com/image-csi/image-csi-operator/internal/cli/doctor"
	"github.com/image-csi/image-csi-operator/internal/cli/document"
	"github.com/image-csi/image-csi-operator/internal/cli/native"
	"github.com/image-csi/image-csi-operator/internal/cli/overview"
	"github.com/image-csi/image-csi-operator/internal/cli/seen"
	"github.com/image-csi/image-csi-operator/internal/cli/uninstall"
	"github.com/image-csi/image-csi-operator/internal/cli/why"
	"github.com/image-csi/image-csi-operator/internal/contract"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// now is the time of the golden files.
var now = time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)

// sample is a cluster with something of everything.
func sample() seen.Cluster {
	return seen.Cluster{
		Version:    "v1.36.1",
		Drivers:    []v1alpha1.ImageCSIDriver{sampleDriver()},
		Namespaces: []corev1.Namespace{{ObjectMeta: metav1.ObjectMeta{Name: "image-csi-system", Labels: map[string]string{"pod-security.kubernetes.io/enforce": "privileged"}}}},
		Nodes: []corev1.Node{
			sampleNode("worker-3", "containerd", "containerd://2.2.1"),
			sampleNode("worker-7", "containerd", "containerd://2.1.4"),
			sampleNode("old-1", "", "docker://27.0.3"),
		},
		CSINodes: []storagev1.CSINode{
			{ObjectMeta: metav1.ObjectMeta{Name: "worker-3"}, Spec: storagev1.CSINodeSpec{Drivers: []storagev1.CSINodeDriver{{Name: contract.DefaultDriverName}}}},
			{ObjectMeta: metav1.ObjectMeta{Name: "worker-7"}},
		},
		Pods: []corev1.Pod{
			samplePod("trainer-0", "worker-3", corev1.PodPending, inlineVolume("model", "registry.corp/ml/llama:8b", true, nil)),
			samplePod("web-5f", "worker-3", corev1.PodRunning, inlineVolume("site", "ghcr.io/example/site:2", false, map[string]string{"sizeLimit": "1Gi"})),
			samplePod("late-1", "worker-7", corev1.PodPending, inlineVolume("tools", "ghcr.io/example/tools:1.4", true, map[string]string{"pullpolicy": "Always"})),
		},
		Events: []corev1.Event{failedMount("trainer-0", "model", 4, "rpc error: code = PermissionDenied desc = the registry refuses to give out image "+
			"registry.corp/ml/llama:8b; it was asked without credentials (the runtime says: unexpected status: 401 Unauthorized)")},
	}
}

// sampleInstalled is the sample with the operator, of a Helm release.
func sampleInstalled() seen.Cluster {
	cluster := sample()
	cluster.Operators = []seen.Operator{{Namespace: "image-csi-operator", Name: "image-csi-operator", Available: true, Release: "image-csi-operator", ReleaseNamespace: "image-csi-operator"}}
	cluster.DaemonSets = []seen.DaemonSet{{Namespace: "image-csi-system", Name: contract.DefaultDriverName + "-containerd", Driver: contract.DefaultDriverName}}
	return cluster
}

func sampleDriver() v1alpha1.ImageCSIDriver {
	before := metav1.NewTime(now.Add(-12 * time.Minute))
	message := "start the container runtime: unix:///run/containerd/containerd.sock does not answer"
	return v1alpha1.ImageCSIDriver{
		ObjectMeta: metav1.ObjectMeta{Name: contract.DefaultDriverName},
		Spec:       v1alpha1.ImageCSIDriverSpec{Aliases: []v1alpha1.DriverName{contract.LegacyEarlierDriverName}},
		Status: v1alpha1.ImageCSIDriverStatus{
			Conditions: []metav1.Condition{
				{Type: v1alpha1.ConditionAvailable, Status: metav1.ConditionFalse, Reason: "NodesNotReady", Message: "1 of 2 nodes is not ready.", LastTransitionTime: before},
				{Type: v1alpha1.ConditionDegraded, Status: metav1.ConditionTrue, Reason: "NodePluginFailing", Message: "node worker-7: " + message, LastTransitionTime: before},
			},
			Nodes:   v1alpha1.NodeCounts{Summary: "1/2", Total: 3, Eligible: 2, Ready: 1, Unsupported: 1},
			Rollout: &v1alpha1.RolloutStatus{Phase: v1alpha1.PhaseComplete, Message: "The node plugin is on every node.", Nodes: 2, Updated: 2},
			NodeClasses: []v1alpha1.NodeClassStatus{{Name: "containerd", MountMode: v1alpha1.MountMode(contract.ModeNsenter), DaemonSet: contract.DefaultDriverName + "-containerd",
				Nodes: 2, Ready: 1, Updated: 2, Revision: "7c9d4f", RuntimeVersions: []string{"2.1.4", "2.2.1"}}},
			Problems: []v1alpha1.NodeProblem{
				{Node: "worker-7", Reason: v1alpha1.ProblemNotReady, Message: message},
				{Node: "old-1", Reason: v1alpha1.ProblemRuntimeUnsupported, Message: "docker has no image store that can be shared; move the node to containerd or CRI-O"},
			},
		},
	}
}

func sampleNode(name, class, runtime string) corev1.Node {
	labels := map[string]string{"kubernetes.io/os": "linux"}
	if class != "" {
		labels[contract.NodeClassLabel] = class
	}
	info := corev1.NodeSystemInfo{ContainerRuntimeVersion: runtime, OSImage: "Debian GNU/Linux 13", OperatingSystem: "linux", KubeletVersion: "v1.36.1", Architecture: "amd64"}
	return corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}, Status: corev1.NodeStatus{NodeInfo: info}}
}

func samplePod(name, node string, phase corev1.PodPhase, volumes ...corev1.Volume) corev1.Pod {
	pod := corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ml", Name: name}, Spec: corev1.PodSpec{NodeName: node, Volumes: volumes}, Status: corev1.PodStatus{Phase: phase}}
	if phase == corev1.PodRunning {
		pod.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "main", State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}}}
	}
	return pod
}

func inlineVolume(name, image string, readOnly bool, attributes map[string]string) corev1.Volume {
	all := map[string]string{contract.ImageAttribute: image}
	for key, value := range attributes {
		all[key] = value
	}
	return corev1.Volume{Name: name, VolumeSource: corev1.VolumeSource{CSI: &corev1.CSIVolumeSource{Driver: contract.DefaultDriverName, ReadOnly: ptr.To(readOnly), VolumeAttributes: all}}}
}

func failedMount(pod, volume string, times int32, said string) corev1.Event {
	return corev1.Event{ObjectMeta: metav1.ObjectMeta{Namespace: "ml", Name: pod + ".1"}, InvolvedObject: corev1.ObjectReference{Kind: "Pod", Namespace: "ml", Name: pod},
		Reason: "FailedMount", Count: times, Message: `MountVolume.SetUp failed for volume "` + volume + `" : ` + said, LastTimestamp: metav1.NewTime(now)}
}

// answers are the documents of the sample by the command that shows them.
func answers() map[string]document.Document {
	cluster := sample()
	return map[string]document.Document{
		"status":            overview.Status(cluster, "", now),
		"nodes":             overview.Nodes(cluster, overview.NodeFilter{}),
		"volumes":           overview.Volumes(cluster, overview.VolumeFilter{}),
		"node worker-3":     overview.NodeView(samplePods(), "worker-3", sampleViews()[:1]),
		"images":            overview.Images(sampleViews()),
		"pulls":             overview.Pulls(sampleViews(), document.Pulls{}, 0),
		"native":            native.Volumes(cluster),
		"doctor":            doctor.Examine(cluster, doctor.After),
		"uninstall":         uninstall.Plan(sampleInstalled()),
		"why pod/trainer-0": why.Pod(cluster, "ml", "trainer-0"),
		"why pod/late-1":    why.Pod(cluster, "ml", "late-1"),
	}
}

// TestATableIsAPrintOfItsDocument holds the forms of every answer in one golden file each: the table, the wide one, names, and the JSON
// that has all they show. docs/kubectl.md shows the tables.
func TestATableIsAPrintOfItsDocument(t *testing.T) {
	page, err := os.ReadFile("../../../docs/kubectl.md")
	if err != nil {
		t.Fatal(err)
	}
	for command, answer := range answers() {
		var got, table bytes.Buffer
		for _, format := range []document.Format{document.FormatTable, document.FormatWide, document.FormatName, document.FormatJSON} {
			got.WriteString("$ kubectl imagecsi " + command + " -o " + string(format) + "\n")
			if err := document.Write(&got, answer, format, document.Options{}); err != nil {
				t.Fatal(err)
			}
		}
		path := filepath.Join("testdata", strings.NewReplacer(" ", "-", "/", "-").Replace(command)+".txt")
		if *update {
			if err := os.WriteFile(path, got.Bytes(), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if got.String() != string(want) {
			t.Errorf("%s (-update rewrites it): got\n%s\nwant\n%s", path, &got, want)
		}
		if err := document.Write(&table, answer, document.FormatTable, document.Options{}); err != nil {
			t.Fatal(err)
		}
		if shown := indented("$ kubectl imagecsi " + command + "\n" + table.String()); !strings.Contains(string(page), shown) {
			t.Errorf("docs/kubectl.md does not show\n%s", shown)
		}
	}
}

// indented is how a page shows what a terminal does.
func indented(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		b.WriteString(strings.TrimRight("    "+line, " \n") + "\n")
	}
	return b.String()
}
