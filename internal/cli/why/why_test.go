package why

import (
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/image-csi/image-csi-operator/api/v1alpha1"
	"github.com/image-csi/image-csi-operator/internal/cli/document"
	"github.com/image-csi/image-csi-operator/internal/cli/seen"
	"github.com/image-csi/image-csi-operator/internal/contract"
)

// waiting is a pod on node n1 with one inline volume, in a cluster whose driver serves the node.
func waiting() seen.Cluster {
	return seen.Cluster{
		Drivers: []v1alpha1.ImageCSIDriver{{ObjectMeta: metav1.ObjectMeta{Name: contract.DefaultDriverName}}},
		Nodes: []corev1.Node{{ObjectMeta: metav1.ObjectMeta{Name: "n1"},
			Status: corev1.NodeStatus{NodeInfo: corev1.NodeSystemInfo{ContainerRuntimeVersion: "containerd://2.2.1", OperatingSystem: "linux"}}}},
		CSINodes: []storagev1.CSINode{{ObjectMeta: metav1.ObjectMeta{Name: "n1"}, Spec: storagev1.CSINodeSpec{Drivers: []storagev1.CSINodeDriver{{Name: contract.DefaultDriverName}}}}},
		Pods: []corev1.Pod{{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "p"}, Spec: corev1.PodSpec{NodeName: "n1", Volumes: []corev1.Volume{{Name: "v",
			VolumeSource: corev1.VolumeSource{CSI: &corev1.CSIVolumeSource{Driver: contract.DefaultDriverName, VolumeAttributes: map[string]string{"image": "r.example/x:1"}}}}}}}},
	}
}

// says adds an event.
func says(s *seen.Cluster, kind, name, reason, message string) {
	s.Events = append(s.Events, corev1.Event{ObjectMeta: metav1.ObjectMeta{Namespace: "a"}, Reason: reason, Message: message,
		InvolvedObject: corev1.ObjectReference{Kind: kind, Namespace: "a", Name: name}})
}

// claims has the pod use a claim.
func claims(s *seen.Cluster, phase corev1.PersistentVolumeClaimPhase) {
	s.Pods[0].Spec.Volumes[0].VolumeSource = corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "c"}}
	s.Claims = []corev1.PersistentVolumeClaim{{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "c", Annotations: map[string]string{
		"volume.kubernetes.io/storage-provisioner": contract.DefaultDriverName}}, Status: corev1.PersistentVolumeClaimStatus{Phase: phase}}}
}

func TestAPodsCause(t *testing.T) {
	for _, c := range []struct {
		want, do string
		make     func(*seen.Cluster)
	}{
		{"", "", func(*seen.Cluster) {}}, // nothing is known to be wrong yet
		{"DriverNotInstalled", "get imagecsidrivers", func(s *seen.Cluster) { s.Drivers, s.CSINodes[0].Spec.Drivers = nil, nil }},
		{"DriverNotInstalled", "get imagecsidrivers", func(s *seen.Cluster) { s.Pods[0].Spec.Volumes[0].CSI.Driver = "container-images.csi.k8s.io" }},
		{"NodeUnsupported", "another node", func(s *seen.Cluster) {
			s.Nodes[0].Status.NodeInfo.ContainerRuntimeVersion, s.CSINodes[0].Spec.Drivers = "docker://27.0.3", nil
		}},
		{"NodeUnsupported", "another node", func(s *seen.Cluster) { // a node on which no CSI driver ever was has no CSINode
			s.Nodes[0].Status.NodeInfo.ContainerRuntimeVersion, s.CSINodes = "docker://27.0.3", nil
		}},
		{"", "", func(s *seen.Cluster) { s.Pods[0].Spec.NodeName = "" }}, // the scheduler has not looked yet
		{"NodeExcluded", "imagecsi.dev/exclude-", func(s *seen.Cluster) {
			s.Nodes[0].Labels, s.CSINodes[0].Spec.Drivers = map[string]string{contract.ExcludeLabel: "true"}, nil
		}},
		{"NodePluginFailing", "nodes --problems", func(s *seen.Cluster) {
			s.CSINodes[0].Spec.Drivers = nil
			s.Drivers[0].Status.Problems = []v1alpha1.NodeProblem{{Node: "n1", Reason: v1alpha1.ProblemNotCreated, Message: "violates PodSecurity"}}
		}},
		{"RolloutUnderWay", "status", func(s *seen.Cluster) {
			s.CSINodes[0].Spec.Drivers = nil
			s.Drivers[0].Status.Rollout = &v1alpha1.RolloutStatus{Phase: v1alpha1.PhaseUpdating, Updating: []string{"n1"}}
		}},
		{"DriverAbsent", "status", func(s *seen.Cluster) { s.CSINodes[0].Spec.Drivers = nil }},
		{"DriverAbsent", "status", func(s *seen.Cluster) { // a developer sees the event only
			s.Drivers, s.Nodes, s.CSINodes = nil, nil, nil
			s.Unread = []seen.Unread{{Resource: seen.Drivers, Cause: seen.Forbidden}}
			says(s, "Pod", "p", "FailedMount", `MountVolume.SetUp failed for volume "v" : driver name x not found in the list of registered CSI drivers`)
		}},
		{"StartupTaint", "status", func(s *seen.Cluster) {
			unplaced(s, "0/1 nodes are available: 1 node(s) had untolerated taint {imagecsi.dev/driver-not-ready: }")
		}},
		{"NodeDown", "get nodes", func(s *seen.Cluster) {
			unplaced(s, "0/2 nodes are available: 1 node(s) didn't match Pod's node affinity/selector, 1 node(s) had untolerated taint {node.kubernetes.io/unreachable: }")
		}},
		{"NodeTainted", "get nodes", func(s *seen.Cluster) { // Kubernetes from 1.37 on does not name taints
			unplaced(s, "0/2 nodes are available: 1 node(s) didn't match Pod's node affinity/selector, 1 node(s) had untolerated taint(s).")
		}},
		{"NotScheduled", "describe pod p", func(s *seen.Cluster) { unplaced(s, "0/1 nodes are available: 1 Insufficient cpu") }},
		{"UserNamespace", "form: IDMappable", func(s *seen.Cluster) {
			s.Pods[0].Spec.HostUsers = ptr.To(false)
			s.Pods[0].Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReadyToStartContainers, Status: corev1.ConditionTrue}}
			says(s, "Pod", "p", "Failed", "failed to set MOUNT_ATTR_IDMAP on /x: invalid argument")
		}},
		{"AccessDenied", "create secret docker-registry", func(s *seen.Cluster) {
			says(s, "Pod", "p", "FailedMount", `MountVolume.SetUp failed for volume "v" : rpc error: code = PermissionDenied desc = the registry refuses to give out image r.example/x:1`)
		}},
		{"AccessDenied", "delete secret mine", func(s *seen.Cluster) {
			s.Pods[0].Spec.Volumes[0].CSI.NodePublishSecretRef = &corev1.LocalObjectReference{Name: "mine"}
			says(s, "Pod", "p", "FailedMount", `MountVolume.SetUp failed for volume "v" : rpc error: code = PermissionDenied desc = the registry refuses to give out image r.example/x:1`)
		}},
		{"Other", "node plugin", func(s *seen.Cluster) {
			says(s, "Pod", "p", "FailedMount", `MountVolume.SetUp failed for volume "v" : rpc error: code = Internal desc = nobody knows`)
		}},
		{"", "", func(s *seen.Cluster) { // an event of another volume, and of an earlier pod of the name
			says(s, "Pod", "p", "FailedMount", `MountVolume.SetUp failed for volume "other" : x`)
			says(s, "Pod", "p", "FailedMount", `MountVolume.SetUp failed for volume "v" : x`)
			s.Events[1].InvolvedObject.UID = "earlier"
		}},
		{"ClaimNamesNoImage", "annotate pvc c", func(s *seen.Cluster) {
			claims(s, corev1.ClaimPending)
			says(s, "PersistentVolumeClaim", "c", "ProvisioningFailed", "the claim names no image: annotate it")
		}},
		{"NoStorageClass", "get storageclass", func(s *seen.Cluster) {
			claims(s, corev1.ClaimPending)
			says(s, "PersistentVolumeClaim", "c", "ProvisioningFailed", `storageclass.storage.k8s.io "x" not found`)
		}},
		{"ClaimUnbound", "describe pvc c", func(s *seen.Cluster) { claims(s, corev1.ClaimPending) }},
	} {
		cluster := waiting()
		c.make(&cluster)
		w := Pod(cluster, "a", "p")
		switch {
		case c.want == "" && len(w.Causes) > 0:
			t.Errorf("the causes are %+v, want none", w.Causes)
		case c.want != "" && (len(w.Causes) != 1 || w.Causes[0].ID != c.want || !strings.Contains(strings.Join(w.Causes[0].Do, "\n"), c.do)):
			t.Errorf("the causes are %+v, want %s with %q", w.Causes, c.want, c.do)
		case w.NeedsAction() != (c.want != "" && c.want != "RolloutUnderWay"):
			t.Errorf("%s: needs action: %t", c.want, w.NeedsAction())
		}
	}
}

// unplaced has the scheduler find no node for the pod.
func unplaced(s *seen.Cluster, message string) {
	s.Pods[0].Spec.NodeName = ""
	s.Pods[0].Status.Conditions = []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Message: message}}
}

func TestAPodThatWasRefused(t *testing.T) {
	for said, want := range map[string]string{
		`pods "web-1" is forbidden: violates PodSecurity "restricted:latest": allowPrivilegeEscalation != false`:                                                   "PodSecurity",
		`pods "web-1" is forbidden: ValidatingAdmissionPolicy 'image-csi-volume-images' with binding 'image-csi-volume-images' denied request: image x may not be`: "PolicyRefuses",
		`pods "web-1" is forbidden: exceeded quota`: "CreationRefused",
	} {
		cluster := seen.Cluster{}
		says(&cluster, "ReplicaSet", "web", "FailedCreate", said)
		if w := Pod(cluster, "a", "web-1"); len(w.Causes) != 1 || w.Causes[0].ID != want || !w.NeedsAction() {
			t.Errorf("%s: the causes are %+v, want %s", said, w.Causes, want)
		}
	}
	if w := Pod(seen.Cluster{}, "a", "web-1"); len(w.Causes) != 1 || w.Causes[0].ID != "NoPod" {
		t.Errorf("the causes are %+v, want NoPod", w.Causes)
	}
	// Named by what made it, a pod has another name.
	made := waiting()
	made.Pods[0].Name = "web-5f-x2"
	if w := Pod(made, "a", "web"); len(w.Causes) != 1 || !slices.Contains(w.Causes[0].Do, "kubectl imagecsi why pod/web-5f-x2 -n a") {
		t.Errorf("the causes are %+v, want the name of the pod that there is", w.Causes)
	}
}

func TestAClaimsCause(t *testing.T) {
	cluster := waiting()
	claims(&cluster, corev1.ClaimBound)
	cluster.Claims[0].Spec.VolumeName = "pv-1"
	says(&cluster, "Pod", "p", "FailedMount", `MountVolume.SetUp failed for volume "pv-1" : rpc error: code = NotFound desc = image x does not exist in its registry`)
	if w := Claim(cluster, "a", "c"); len(w.Causes) != 1 || w.Causes[0].ID != "ImageNotFound" || len(w.Volumes) != 1 {
		t.Errorf("%+v, want ImageNotFound of the pod's volume", w)
	}
	cluster.Pods, cluster.Claims[0].Status.Phase = nil, corev1.ClaimPending
	if w := Claim(cluster, "a", "c"); len(w.Causes) != 1 || w.Causes[0].ID != "ClaimUnbound" {
		t.Errorf("%+v, want ClaimUnbound", w)
	}
	// Kubernetes repeats that it waits for the provisioner, later than what the provisioner says.
	says(&cluster, "PersistentVolumeClaim", "c", "ProvisioningFailed", "the claim names no image")
	says(&cluster, "PersistentVolumeClaim", "c", "ExternalProvisioning", "Waiting for a volume to be created either by the external provisioner")
	cluster.Events[len(cluster.Events)-1].LastTimestamp = metav1.Now()
	if w := Claim(cluster, "a", "c"); len(w.Causes) != 1 || w.Causes[0].ID != "ClaimNamesNoImage" {
		t.Errorf("%+v, want ClaimNamesNoImage", w)
	}
	if w := Claim(cluster, "a", "none"); len(w.Causes) != 1 || w.Causes[0].ID != "NoClaim" {
		t.Errorf("%+v, want NoClaim", w)
	}
}

// Whoever makes a pod chooses these texts, and somebody else copies the commands.
func TestNoCommandHasWhatAShellWouldRun(t *testing.T) {
	const evil = "$(touch here);x"
	cluster := waiting()
	pod := &cluster.Pods[0]
	pod.OwnerReferences = []metav1.OwnerReference{{Kind: "StatefulSet", Name: evil}}
	csi := pod.Spec.Volumes[0].CSI
	csi.NodePublishSecretRef = &corev1.LocalObjectReference{Name: evil}
	for _, said := range []string{"the registry refuses to give out image x", "is not an image reference", "cannot be reached from this node", "failed to find the secret"} {
		csi.VolumeAttributes = map[string]string{"image": "`id`." + evil + "/a:1"}
		asked := cluster
		says(&asked, "Pod", "p", "FailedMount", `MountVolume.SetUp failed for volume "v" : `+said)
		w := Pod(asked, "a", "p")
		if len(w.Causes) != 1 || w.Causes[0].ID == "Other" {
			t.Fatalf("%q: %+v", said, w.Causes)
		}
		for _, do := range w.Causes[0].Do {
			if strings.ContainsAny(do, "$`") {
				t.Errorf("%q: %s", said, do)
			}
		}
	}
}

func TestWhatDoesNothingIsNoted(t *testing.T) {
	cluster := waiting()
	csi := cluster.Pods[0].Spec.Volumes[0].CSI
	csi.ReadOnly = ptr.To(true)
	csi.VolumeAttributes = map[string]string{"image": "x", "pullpolicy": "Never", "sizeLimit": "1Gi", "secret": "s", "csi.storage.k8s.io/pod.name": "p"}
	cluster.Pods[0].Spec.ImagePullSecrets = []corev1.LocalObjectReference{{Name: "regcred"}}
	says(&cluster, "Pod", "p", "FailedMount", `MountVolume.SetUp failed for volume "v" : x`)
	w := Pod(cluster, "a", "p")
	for _, word := range []string{"attribute pullpolicy is not known", "the attribute secret is not read", "sizeLimit does nothing", "imagePullSecrets of the pod"} {
		if !slices.ContainsFunc(w.Notes, func(note string) bool { return strings.Contains(note, word) }) {
			t.Errorf("no note says %q: %q", word, w.Notes)
		}
	}
	if len(w.Notes) != 4 {
		t.Errorf("%d notes: %q", len(w.Notes), w.Notes)
	}
}

// TestWhoMayReadOnlyANamespaceGetsAnAnswer has the claim's volume unreadable.
func TestWhoMayReadOnlyANamespaceGetsAnAnswer(t *testing.T) {
	cluster := waiting()
	claims(&cluster, corev1.ClaimBound)
	cluster.Claims[0].Annotations, cluster.Claims[0].Spec.VolumeName = nil, "pv-1"
	cluster.Claims[0].Spec.AccessModes = []corev1.PersistentVolumeAccessMode{corev1.ReadOnlyMany}
	says(&cluster, "Pod", "p", "FailedMount", `MountVolume.SetUp failed for volume "pv-1" : rpc error: code = NotFound desc = image x does not exist in its registry`)
	if w := Pod(cluster, "a", "p"); len(w.Volumes) != 0 {
		t.Errorf("a claim without its volume is one of ours, although all volumes were read: %+v", w)
	}
	cluster.Unread = []seen.Unread{{Resource: seen.Volumes, Cause: seen.Forbidden}}
	if w := Pod(cluster, "a", "p"); len(w.Causes) != 1 || w.Causes[0].ID != "ImageNotFound" || w.Volumes[0].State != document.VolumeFailed {
		t.Errorf("%+v, want ImageNotFound", w)
	}
}
