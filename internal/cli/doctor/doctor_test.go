package doctor

import (
	"os"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/image-csi/image-csi-operator/api/v1alpha1"
	"github.com/image-csi/image-csi-operator/internal/cli/document"
	"github.com/image-csi/image-csi-operator/internal/cli/seen"
	"github.com/image-csi/image-csi-operator/internal/contract"
	"github.com/image-csi/image-csi-operator/internal/operator/status"
)

// well is a cluster without a fault.
func well() seen.Cluster {
	node := corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1", Labels: map[string]string{contract.NodeClassLabel: "containerd"}},
		Status: corev1.NodeStatus{NodeInfo: corev1.NodeSystemInfo{ContainerRuntimeVersion: "containerd://2.2.1", OperatingSystem: "linux"}}}
	return seen.Cluster{
		Version:    "v1.36.1",
		Namespaces: []corev1.Namespace{{ObjectMeta: metav1.ObjectMeta{Name: pluginNamespace, Labels: map[string]string{enforceLabel: "privileged"}}}},
		Nodes:      []corev1.Node{node},
		CSINodes:   []storagev1.CSINode{{ObjectMeta: metav1.ObjectMeta{Name: "n1"}, Spec: storagev1.CSINodeSpec{Drivers: []storagev1.CSINodeDriver{{Name: contract.DefaultDriverName}}}}},
		Drivers: []v1alpha1.ImageCSIDriver{{ObjectMeta: metav1.ObjectMeta{Name: contract.DefaultDriverName},
			Status: v1alpha1.ImageCSIDriverStatus{Conditions: []metav1.Condition{{Type: v1alpha1.ConditionAvailable, Status: metav1.ConditionTrue}}}}},
		Policies: []string{status.ImagesPolicy}, Bindings: []string{status.ImagesPolicy},
	}
}

func TestThePolicyHasItsName(t *testing.T) {
	if imagesPolicy != status.ImagesPolicy {
		t.Errorf("the policy is %s, and doctor looks for %s", status.ImagesPolicy, imagesPolicy)
	}
}

func TestAClusterWithoutAFaultPassesEveryCheck(t *testing.T) {
	for _, when := range []When{Before, After} {
		d := Examine(well(), when)
		for _, c := range d.Checks {
			if c.Result != document.CheckPassed {
				t.Errorf("%s: %+v", when, c)
			}
		}
		if before := when == Before; before == slices.ContainsFunc(d.Checks, func(c document.Check) bool { return c.ID == "registered" }) {
			t.Errorf("%s: the checks are %+v", when, d.Checks)
		}
	}
}

// TestEveryCheckFindsItsFault makes each finding happen.
func TestEveryCheckFindsItsFault(t *testing.T) {
	found := map[string]bool{}
	for _, c := range []struct {
		id     string
		result document.CheckResult
		says   string
		spoil  func(*seen.Cluster)
	}{
		{"kubernetes-version", document.CheckError, "v1.30.4 is older", func(s *seen.Cluster) { s.Version = "v1.30.4" }},
		{"kubernetes-version", document.CheckWarning, "cannot be read", func(s *seen.Cluster) { s.Version = "" }},
		{"pod-security", document.CheckError, "is baseline", func(s *seen.Cluster) { s.Namespaces[0].Labels[enforceLabel] = "baseline" }},
		{"pod-security", document.CheckWarning, "no Pod Security level", func(s *seen.Cluster) { s.Namespaces[0].Labels = nil }},
		{"pod-security", document.CheckError, "namespace elsewhere", func(s *seen.Cluster) {
			s.DaemonSets = []seen.DaemonSet{{Namespace: "elsewhere", Name: "d", Driver: contract.DefaultDriverName}}
			s.Namespaces = append(s.Namespaces, corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "elsewhere", Labels: map[string]string{enforceLabel: "restricted"}}})
		}},
		{"operator", document.CheckError, "not installed", func(s *seen.Cluster) {
			s.Drivers, s.Unread = nil, []seen.Unread{{Resource: seen.Drivers, Cause: seen.NotServed}}
		}},
		{"operator", document.CheckError, "there is no ImageCSIDriver", func(s *seen.Cluster) { s.Drivers = nil }},
		{"policies", document.CheckWarning, "not in effect", func(s *seen.Cluster) { s.Bindings = nil }},
		{"runtime", document.CheckError, "no node can serve", func(s *seen.Cluster) { s.Nodes[0].Status.NodeInfo.ContainerRuntimeVersion = "docker://27.0.3" }},
		{"runtime", document.CheckWarning, "1 node cannot serve image volumes: n2 (RuntimeUnsupported)", func(s *seen.Cluster) {
			other := *s.Nodes[0].DeepCopy()
			other.Name, other.Labels, other.Status.NodeInfo.ContainerRuntimeVersion = "n2", nil, "docker://27.0.3"
			s.Nodes = append(s.Nodes, other)
		}},
		{"registered", document.CheckError, "n1 (NotRegistered)", func(s *seen.Cluster) { s.CSINodes[0].Spec.Drivers = nil }},
		{"conditions", document.CheckError, "Degraded: broken", func(s *seen.Cluster) {
			s.Drivers[0].Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionDegraded, Status: metav1.ConditionTrue, Message: "broken"}}
		}},
		{"other-driver", document.CheckWarning, "DaemonSet kube-system/warm-metal", func(s *seen.Cluster) {
			s.DaemonSets = []seen.DaemonSet{{Namespace: "kube-system", Name: "warm-metal", Serves: contract.LegacyEarlierDriverName}}
		}},
		{"other-driver", document.CheckWarning, "is not the operator's", func(s *seen.Cluster) {
			s.CSIDrivers = []storagev1.CSIDriver{{ObjectMeta: metav1.ObjectMeta{Name: contract.DefaultDriverName}}}
		}},
		{"failing", document.CheckWarning, "1 volume cannot be mounted, of pods a/p", func(s *seen.Cluster) {
			s.Pods = []corev1.Pod{{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "p"}, Spec: corev1.PodSpec{NodeName: "n1", Volumes: []corev1.Volume{{Name: "v",
				VolumeSource: corev1.VolumeSource{CSI: &corev1.CSIVolumeSource{Driver: contract.DefaultDriverName}}}}}}}
			s.Events = []corev1.Event{{ObjectMeta: metav1.ObjectMeta{Namespace: "a"}, Reason: "FailedMount", Message: `MountVolume.SetUp failed for volume "v" : x`,
				InvolvedObject: corev1.ObjectReference{Kind: "Pod", Namespace: "a", Name: "p"}}}
		}},
		{"registered", document.CheckSkipped, "you may not list csinodes", func(s *seen.Cluster) {
			s.Unread = []seen.Unread{{Resource: seen.CSINodes, Cause: seen.Forbidden}}
		}},
	} {
		cluster := well()
		c.spoil(&cluster)
		checks := Examine(cluster, After).Checks
		at := slices.IndexFunc(checks, func(o document.Check) bool { return o.ID == c.id })
		if got := checks[at]; got.Result != c.result || !strings.Contains(got.Message, c.says) || got.See == "" || (c.result != document.CheckSkipped && got.ID != "kubernetes-version" && len(got.Do) == 0) {
			t.Errorf("%s: %+v, want %s with %q and what to do", c.id, got, c.result, c.says)
		}
		found[c.id] = true
	}
	for _, c := range checks() {
		if !found[c.id] {
			t.Errorf("nothing makes check %s find its fault", c.id)
		}
	}
}

// TestThePageHasEveryCheck wants every check in docs/kubectl.md, whose links the tests of docs follow.
func TestThePageHasEveryCheck(t *testing.T) {
	page, err := os.ReadFile("../../../docs/kubectl.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range checks() {
		start, end := "| "+c.group+" | `"+c.id+"` |", "| [more]("+strings.TrimPrefix(c.see, "docs/")+") |"
		if !slices.ContainsFunc(strings.Split(string(page), "\n"), func(line string) bool { return strings.HasPrefix(line, start) && strings.HasSuffix(line, end) }) {
			t.Errorf("docs/kubectl.md lacks a line %s … %s", start, end)
		}
	}
}
