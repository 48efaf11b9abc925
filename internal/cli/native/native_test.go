package native

import (
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/image-csi/image-csi-operator/api/v1alpha1"
	"github.com/image-csi/image-csi-operator/internal/cli/document"
	"github.com/image-csi/image-csi-operator/internal/cli/seen"
	"github.com/image-csi/image-csi-operator/internal/contract"
)

func node(name, kubelet, runtime string) corev1.Node {
	return corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{contract.NodeClassLabel: "c", "name": name}},
		Status: corev1.NodeStatus{NodeInfo: corev1.NodeSystemInfo{KubeletVersion: kubelet, ContainerRuntimeVersion: runtime}}}
}

// simple is a cluster on which Kubernetes could show the only volume of its only pod.
func simple() seen.Cluster {
	source := &corev1.CSIVolumeSource{Driver: contract.DefaultDriverName, ReadOnly: ptr.To(true), VolumeAttributes: map[string]string{contract.ImageAttribute: "busybox"}}
	return seen.Cluster{
		Version: "v1.36.1",
		Drivers: []v1alpha1.ImageCSIDriver{{ObjectMeta: metav1.ObjectMeta{Name: contract.DefaultDriverName}}},
		Nodes:   []corev1.Node{node("n1", "v1.36.1", "containerd://2.2.2"), node("n2", "v1.36.1", "cri-o://1.36.3")},
		Pods: []corev1.Pod{{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "p"}, Spec: corev1.PodSpec{
			Volumes:    []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{CSI: source}}},
			Containers: []corev1.Container{{Name: "c", VolumeMounts: []corev1.VolumeMount{{Name: "v", MountPath: "/v"}}}},
		}}},
	}
}

func TestEveryPropertyOfAVolumeCounts(t *testing.T) {
	const possible, changes, driver, unknown = document.NativePossible, document.NativeWithChanges, document.NativeNeedsDriver, document.NativeUnknown
	for _, c := range []struct {
		name    string
		change  func(*seen.Cluster, *corev1.Pod, *corev1.CSIVolumeSource, *v1alpha1.ImageCSIDriver)
		verdict document.NativeVerdict
		says    string
	}{
		{"as it is", nil, possible, ""},
		{"writable", func(_ *seen.Cluster, _ *corev1.Pod, s *corev1.CSIVolumeSource, _ *v1alpha1.ImageCSIDriver) {
			s.ReadOnly = nil
		}, driver, "Writable: the pod may write"},
		{"writable, and read only by every container", func(_ *seen.Cluster, p *corev1.Pod, s *corev1.CSIVolumeSource, _ *v1alpha1.ImageCSIDriver) {
			s.ReadOnly, p.Spec.Containers[0].VolumeMounts[0].ReadOnly = nil, true
		}, possible, ""},
		{"a secret", func(_ *seen.Cluster, _ *corev1.Pod, s *corev1.CSIVolumeSource, _ *v1alpha1.ImageCSIDriver) {
			s.NodePublishSecretRef = &corev1.LocalObjectReference{Name: "corp"}
		}, changes, "Credentials: name secret corp"},
		{"a secret that the pod names, too", func(_ *seen.Cluster, p *corev1.Pod, s *corev1.CSIVolumeSource, _ *v1alpha1.ImageCSIDriver) {
			s.NodePublishSecretRef = &corev1.LocalObjectReference{Name: "corp"}
			p.Spec.ImagePullSecrets = []corev1.LocalObjectReference{{Name: "corp"}}
		}, possible, ""},
		{"secrets of the driver", func(_ *seen.Cluster, _ *corev1.Pod, _ *corev1.CSIVolumeSource, d *v1alpha1.ImageCSIDriver) {
			d.Spec.Credentials.Secrets = []v1alpha1.SecretName{{Name: "corp"}}
		}, changes, "Credentials: if the image is private"},
		{"rules for names", func(_ *seen.Cluster, _ *corev1.Pod, _ *corev1.CSIVolumeSource, d *v1alpha1.ImageCSIDriver) {
			d.Spec.Security.AllowedImages = []v1alpha1.AllowedImage{"docker.io/library/"}
		}, changes, "Rules: the driver's rules"},
		{"rules for content", func(_ *seen.Cluster, _ *corev1.Pod, _ *corev1.CSIVolumeSource, d *v1alpha1.ImageCSIDriver) {
			d.Spec.Security.RefusedContent = []v1alpha1.ImageContent{v1alpha1.DeviceNodes}
		}, driver, "Rules: the driver looks into images"},
		{"a limit for images", func(_ *seen.Cluster, _ *corev1.Pod, _ *corev1.CSIVolumeSource, d *v1alpha1.ImageCSIDriver) {
			d.Spec.Volumes.MaxImageSize = ptr.To(resource.MustParse("1Gi"))
		}, changes, "maxImageSize"},
		{"an old API server", func(s *seen.Cluster, _ *corev1.Pod, _ *corev1.CSIVolumeSource, _ *v1alpha1.ImageCSIDriver) {
			s.Version = "v1.34.2"
		}, driver, "Nodes: on n1, n2: Kubernetes v1.34.2 has image volumes only behind"},
		{"an old containerd on one node", func(s *seen.Cluster, _ *corev1.Pod, _ *corev1.CSIVolumeSource, _ *v1alpha1.ImageCSIDriver) {
			s.Nodes[0] = node("n1", "v1.36.1", "containerd://1.7.27")
		}, changes, "Nodes: on n1: containerd://1.7.27 has no image volumes"},
		{"an old containerd where the pod does not go", func(s *seen.Cluster, p *corev1.Pod, _ *corev1.CSIVolumeSource, _ *v1alpha1.ImageCSIDriver) {
			s.Nodes[0] = node("n1", "v1.36.1", "containerd://1.7.27")
			p.Spec.NodeSelector = map[string]string{"name": "n2"}
		}, possible, ""},
		{"users of its own", func(_ *seen.Cluster, p *corev1.Pod, _ *corev1.CSIVolumeSource, _ *v1alpha1.ImageCSIDriver) {
			p.Spec.HostUsers = ptr.To(false)
		}, changes, "Nodes: on n2: cri-o://1.36.3 cannot start a pod with hostUsers: false"},
		{"rights that do not reach nodes", func(s *seen.Cluster, _ *corev1.Pod, _ *corev1.CSIVolumeSource, _ *v1alpha1.ImageCSIDriver) {
			s.Nodes, s.Unread = nil, []seen.Unread{{Resource: seen.Nodes, Cause: seen.Forbidden}}
		}, unknown, "Unread: you may not list nodes"},
		{"a driver that nobody has", func(s *seen.Cluster, _ *corev1.Pod, _ *corev1.CSIVolumeSource, _ *v1alpha1.ImageCSIDriver) {
			s.Drivers = nil
		}, unknown, "Unread: no ImageCSIDriver serves"},
		{"no reference", func(_ *seen.Cluster, _ *corev1.Pod, s *corev1.CSIVolumeSource, _ *v1alpha1.ImageCSIDriver) {
			s.VolumeAttributes[contract.ImageAttribute] = "No Image"
		}, unknown, "no image reference"},
	} {
		cluster := simple()
		if c.change != nil {
			c.change(&cluster, &cluster.Pods[0], cluster.Pods[0].Spec.Volumes[0].CSI, &cluster.Drivers[0])
		}
		got := Volumes(cluster).Items[0]
		var said strings.Builder
		for _, r := range got.Reasons {
			said.WriteString(string(r.ID) + ": " + r.Message + "\n")
		}
		if got.Verdict != c.verdict || !strings.Contains(said.String(), c.says) || (c.says == "") != (len(got.Reasons) == 0) {
			t.Errorf("%s: %s, want %s with %q:\n%s", c.name, got.Verdict, c.verdict, c.says, said.String())
		}
		if written := got.Write != nil; written != slices.Contains([]document.NativeVerdict{possible, changes}, c.verdict) {
			t.Errorf("%s: %s, and what to write is %v", c.name, got.Verdict, got.Write)
		}
	}
}

func TestAClaimOfAnImageCouldBeAnImageVolume(t *testing.T) {
	cluster := simple()
	cluster.Pods[0].Spec.Volumes[0].VolumeSource = corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "data"}}
	cluster.Claims = []corev1.PersistentVolumeClaim{{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "data"}, Spec: corev1.PersistentVolumeClaimSpec{VolumeName: "pv"}}}
	cluster.Volumes = []corev1.PersistentVolume{{ObjectMeta: metav1.ObjectMeta{Name: "pv"}, Spec: corev1.PersistentVolumeSpec{PersistentVolumeSource: corev1.PersistentVolumeSource{
		CSI: &corev1.CSIPersistentVolumeSource{Driver: contract.DefaultDriverName, VolumeHandle: "example.com/data:1"}}}}}
	got := Volumes(cluster).Items[0]
	if got.Verdict != document.NativeWithChanges || got.Reasons[0].ID != document.NativeClaim || got.Write.Image.Reference != "example.com/data:1" {
		t.Errorf("got %+v", got)
	}
}

// TestWhatIsWrittenShowsTheSameImage holds the name and the policy: runtimes complete short names in their own ways, and Kubernetes'
// default of the policy is Always for the tag latest.
func TestWhatIsWrittenShowsTheSameImage(t *testing.T) {
	for _, c := range []struct {
		attributes   map[string]string
		driver       corev1.PullPolicy
		image, pulls string
	}{
		{map[string]string{"image": "busybox"}, "", "docker.io/library/busybox:latest", "IfNotPresent"},
		{map[string]string{"image": "busybox"}, corev1.PullAlways, "docker.io/library/busybox:latest", "Always"},
		{map[string]string{"image": "example.com/a:1", "pullAlways": "True"}, "", "example.com/a:1", "Always"},
		{map[string]string{"image": "example.com/a:1", "pullAlways": "true", "pullPolicy": "Never"}, "", "example.com/a:1", "Never"},
	} {
		cluster := simple()
		cluster.Drivers[0].Spec.Volumes.PullPolicy = c.driver
		cluster.Pods[0].Spec.Volumes[0].CSI.VolumeAttributes = c.attributes
		got := Volumes(cluster).Items[0]
		if got.Write == nil || got.Write.Image.Reference != c.image || string(got.Write.Image.PullPolicy) != c.pulls {
			t.Errorf("%v: %+v", c.attributes, got)
		}
	}
}

func TestWhatNodesCanDoDependsOnTheirVersions(t *testing.T) {
	const nothing = ""
	for _, c := range []struct {
		kubelet, runtime string
		want             wanted
		lacks            string
	}{
		{"v1.36.1", "containerd://2.1.0", wanted{}, nothing},
		{"v1.35.0", "containerd://2.1.4+bottlerocket", wanted{}, nothing},
		{"v1.36.1+k3s1", "containerd://2.1.4-k3s1", wanted{}, nothing},
		{"v1.34.9", "containerd://2.2.2", wanted{}, "behind the feature gate"},
		{"v1.30.1", "containerd://2.2.2", wanted{}, "has no image volumes"},
		{"v1.36.1", "containerd://2.0.5", wanted{}, "from 2.1 on"},
		{"v1.36.1", "containerd://2.1.9", wanted{subPath: true}, "ignores subPath without an error"},
		{"v1.36.1", "containerd://2.2.0", wanted{subPath: true}, nothing},
		{"v1.36.1", "containerd://2.1.6", wanted{userNamespace: true}, "hostUsers: false"},
		{"v1.36.1", "containerd://2.1.7", wanted{userNamespace: true}, nothing},
		{"v1.36.1", "containerd://2.2.1", wanted{userNamespace: true}, "hostUsers: false"},
		{"v1.36.1", "containerd://2.2.2", wanted{userNamespace: true}, nothing},
		{"v1.36.1", "containerd://2.4.0", wanted{userNamespace: true}, nothing},
		{"v1.36.1", "cri-o://1.30.2", wanted{}, "from 1.31 on"},
		{"v1.36.1", "cri-o://1.32.2", wanted{subPath: true}, "does from 1.33 on"},
		{"v1.36.1", "cri-o://1.33.0", wanted{subPath: true}, nothing},
		{"v1.36.1", "cri-o://1.36.3", wanted{userNamespace: true}, "hostUsers: false"},
		{"v1.36.1", "docker://27.0.3", wanted{}, "has no image volumes"},
		{"v1.36.1", "mystery", wanted{}, "is not known"},
	} {
		n := node("n", c.kubelet, c.runtime)
		if got := lacks("v1.37.0", &n, c.want); (got == "") != (c.lacks == "") || !strings.Contains(got, c.lacks) {
			t.Errorf("%s, %s, %+v: %q, want %q", c.kubelet, c.runtime, c.want, got, c.lacks)
		}
	}
}
