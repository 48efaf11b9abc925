package uninstall

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/image-csi/image-csi-operator/api/v1alpha1"
	"github.com/image-csi/image-csi-operator/internal/cli/document"
	"github.com/image-csi/image-csi-operator/internal/cli/seen"
)

const driver = "images.example.com"

// installed is an installation that nobody uses.
func installed() seen.Cluster {
	return seen.Cluster{
		Drivers:    []v1alpha1.ImageCSIDriver{{ObjectMeta: metav1.ObjectMeta{Name: driver}}},
		Operators:  []seen.Operator{{Namespace: "image-csi-operator", Name: "image-csi-operator", Available: true}},
		DaemonSets: []seen.DaemonSet{{Namespace: "image-csi-system", Name: "d", Driver: driver}, {Namespace: "other", Name: "o"}},
	}
}

func inline(name string) corev1.Volume {
	return corev1.Volume{Name: "v", VolumeSource: corev1.VolumeSource{CSI: &corev1.CSIVolumeSource{Driver: name, VolumeAttributes: map[string]string{"image": "a"}}}}
}

func pod(phase corev1.PodPhase, volume corev1.Volume) corev1.Pod {
	return corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: "p"}, Spec: corev1.PodSpec{Volumes: []corev1.Volume{volume}}, Status: corev1.PodStatus{Phase: phase}}
}

func TestTheStepsDependOnWhatThereIs(t *testing.T) {
	volume := func(annotations map[string]string) corev1.PersistentVolume {
		v := corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: "pv", Annotations: annotations}}
		v.Spec.CSI = &corev1.CSIPersistentVolumeSource{Driver: driver, VolumeHandle: "a"}
		v.Spec.ClaimRef = &corev1.ObjectReference{Namespace: "n", Name: "c"}
		return v
	}
	for _, c := range []struct {
		name   string
		change func(*seen.Cluster)
		step   document.UninstallStepID
		state  document.StepState
		says   string
		lacks  string
	}{
		{"nobody uses it", func(*seen.Cluster) {}, document.UninstallPods, document.StepDone, "no pod", "do:"},
		{"a pod", func(s *seen.Cluster) { s.Pods = []corev1.Pod{pod(corev1.PodRunning, inline(driver))} }, document.UninstallPods, document.StepBlocked, "n/p", ""},
		{"a pod that has ended", func(s *seen.Cluster) { s.Pods = []corev1.Pod{pod(corev1.PodSucceeded, inline(driver))} }, document.UninstallPods, document.StepDone, "", ""},
		{"a pod of another driver", func(s *seen.Cluster) {
			s.Pods = []corev1.Pod{pod(corev1.PodRunning, inline("container-image.csi.k8s.io"))}
		}, document.UninstallPods, document.StepDone, "", ""},
		{"pods that may not be read", func(s *seen.Cluster) { s.Unread = []seen.Unread{{Resource: seen.Pods, Cause: seen.Forbidden}} }, document.UninstallPods, document.StepBlocked, "you may not list pods", ""},
		{"a claim with a volume that was made for it", func(s *seen.Cluster) {
			s.Claims = []corev1.PersistentVolumeClaim{{ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: "c"}}}
			s.Volumes = []corev1.PersistentVolume{volume(map[string]string{provisionedBy: driver})}
		}, document.UninstallClaims, document.StepToDo, "kubectl -n n delete persistentvolumeclaim c", "delete persistentvolume pv"},
		{"a volume that somebody wrote", func(s *seen.Cluster) { s.Volumes = []corev1.PersistentVolume{volume(nil)} }, document.UninstallClaims, document.StepToDo, "kubectl delete persistentvolume pv", "persistentvolumeclaim"},
		{"a StorageClass", func(s *seen.Cluster) {
			s.Classes = []storagev1.StorageClass{{ObjectMeta: metav1.ObjectMeta{Name: "images"}, Provisioner: driver}, {ObjectMeta: metav1.ObjectMeta{Name: "disks"}, Provisioner: "disks.example.com"}}
		}, document.UninstallClasses, document.StepToDo, "kubectl delete storageclass images", "disks"},
		{"a driver", func(*seen.Cluster) {}, document.UninstallDrivers, document.StepToDo, "kubectl delete imagecsidrivers --all", ""},
		{"a driver without an operator", func(s *seen.Cluster) { s.Operators[0].Available = false }, document.UninstallDrivers, document.StepBlocked, "no operator runs", "delete imagecsidrivers"},
		{"an unmanaged driver", func(s *seen.Cluster) { s.Drivers[0].Spec.ManagementState = v1alpha1.Unmanaged }, document.UninstallDrivers, document.StepBlocked, "is Unmanaged", "delete imagecsidrivers"},
		{"drivers first", func(*seen.Cluster) {}, document.UninstallOperator, document.StepBlocked, "not before the drivers are gone", ""},
		{"manifests", func(s *seen.Cluster) { s.Drivers = nil }, document.UninstallOperator, document.StepToDo, "kubectl delete -f install.yaml", "helm"},
		{"a release", func(s *seen.Cluster) {
			s.Drivers, s.Operators[0].Release, s.Operators[0].ReleaseNamespace = nil, "r", "ns"
		}, document.UninstallOperator, document.StepToDo, "helm uninstall r --namespace ns", "install.yaml"},
		{"OLM", func(s *seen.Cluster) {
			s.Drivers, s.Operators[0].CSV, s.Operators[0].Subscriptions = nil, "image-csi-operator.v1.2.3", []string{"sub"}
		}, document.UninstallOperator, document.StepToDo, "kubectl -n image-csi-operator delete subscription sub", "install.yaml"},
		{"OLM v1", func(s *seen.Cluster) { s.Drivers, s.Operators[0].Extension = nil, "images" }, document.UninstallOperator, document.StepToDo, "kubectl delete clusterextension images", "subscription"},
		{"no operator", func(s *seen.Cluster) { s.Drivers, s.Operators = nil, nil }, document.UninstallOperator, document.StepDone, "no Deployment", ""},
		{"namespaces", func(s *seen.Cluster) { s.Drivers = nil }, document.UninstallNamespaces, document.StepToDo, "namespace image-csi-system image-csi-operator", "other"},
		{"a namespace of everybody", func(s *seen.Cluster) { s.DaemonSets, s.Operators[0].Namespace = nil, "kube-system" }, document.UninstallNamespaces, document.StepDone, "no namespace", "kube-system"},
	} {
		cluster := installed()
		c.change(&cluster)
		step := Plan(cluster).Step(c.step)
		text := step.Message + "\n" + strings.Join(step.Commands, "\n")
		if step.State != c.state || !strings.Contains(text, c.says) || c.lacks != "" && strings.Contains(text, c.lacks) {
			t.Errorf("%s: %s, want %s with %q, without %q:\n%s", c.name, step.State, c.state, c.says, c.lacks, text)
		}
	}
}

// TestWhatADriverLeavesIsStillKnownAfterIt holds that a plan made after the drivers are gone does not take their volumes for others'.
func TestWhatADriverLeavesIsStillKnownAfterIt(t *testing.T) {
	cluster := installed()
	cluster.Drivers = nil
	cluster.Classes = []storagev1.StorageClass{{ObjectMeta: metav1.ObjectMeta{Name: "images"}, Provisioner: driver}}
	if step := Plan(cluster, driver).Step(document.UninstallClasses); step.State != document.StepToDo {
		t.Errorf("with the names: %+v", step)
	}
	if step := Plan(cluster).Step(document.UninstallClasses); !strings.Contains(step.Message, "is known to be") {
		t.Errorf("without the names: %+v", step)
	}
}
