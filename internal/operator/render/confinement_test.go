package render

import (
	"slices"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"

	"github.com/image-csi/image-csi-operator/api/v1alpha1"
	"github.com/image-csi/image-csi-operator/internal/contract"
	"github.com/image-csi/image-csi-operator/internal/operator/nodeclass"
)

func TestAClassTakesPrecedenceOverTheDriverFieldByField(t *testing.T) {
	driver := narrow()
	driver.Spec.NodePlugin.Confinement = &v1alpha1.ContainerConfinement{
		AppArmorProfile: &v1alpha1.ContainerAppArmorProfile{Type: v1alpha1.AppArmorProfileLocalhost, LocalhostProfile: "ours"},
		SELinuxOptions:  &v1alpha1.ContainerSELinuxOptions{Type: "driver_t"},

		DropCapabilities: []v1alpha1.DroppableCapability{"SETFCAP"}, VolumeSELinuxOptions: &v1alpha1.VolumeSELinuxOptions{Type: "files_t", Level: "s0:c1"},
	}
	driver.Spec.NodeClasses = []v1alpha1.NodeClass{{Name: nodeclass.Containerd, Confinement: &v1alpha1.ContainerConfinement{
		SeccompProfile: &v1alpha1.ContainerSeccompProfile{Type: v1alpha1.SeccompProfileLocalhost, LocalhostProfile: "class.json"},
		SELinuxOptions: &v1alpha1.ContainerSELinuxOptions{Type: "class_t", Level: "s0:c1"},

		DropCapabilities: []v1alpha1.DroppableCapability{}, VolumeSELinuxOptions: &v1alpha1.VolumeSELinuxOptions{Type: "class_files_t"},
	}}}
	classes := []nodeclass.Class{class(t, nodeclass.Containerd, driver.Spec.NodeClasses...), class(t, nodeclass.K3s), class(t, nodeclass.Talos), class(t, nodeclass.CRIO)}
	input := Input{Driver: driver, Names: Names(driver), Settings: settings, Kinds: []OptionalKind{SeccompProfile()}, Existing: []Object{installed("Installed")}, Classes: classes}
	want := map[string]string{
		nodeclass.Containerd: "container=Unprivileged;seccomp=Localhost/class.json;appArmor=Localhost/ours;seLinuxType=class_t;seLinuxLevel=s0:c1;volumeType=class_files_t;volumeLevel=s0",
		nodeclass.K3s:        "container=Unprivileged;seccomp=Localhost/" + file(installed("Installed")) + ";appArmor=Localhost/ours;seLinuxType=driver_t;seLinuxLevel=s0;dropped=SETFCAP;volumeType=files_t;volumeLevel=s0:c1",
		nodeclass.Talos:      "container=Unprivileged;seccomp=Localhost/" + file(installed("Installed")) + ";appArmor=Localhost/ours;seLinuxType=driver_t;seLinuxLevel=s0;dropped=SETFCAP;volumeType=files_t;volumeLevel=s0:c1",
		nodeclass.CRIO:       "container=Privileged",
	}
	seen := 0
	for _, object := range Render(input).Apply {
		daemonSet, is := object.(*appsv1.DaemonSet)
		if !is {
			continue
		}
		seen++
		container := daemonSet.Spec.Template.Spec.Containers[0]
		dropped := container.SecurityContext.Capabilities != nil && !slices.Contains(container.SecurityContext.Capabilities.Add, "SETFCAP")
		name := daemonSet.Labels[contract.NodeClassLabel]
		if !slices.Contains(container.Args, "--confinement="+want[name]) {
			t.Errorf("class %s is told %q, want %s", name, container.Args, want[name])
		}
		if want := name == nodeclass.K3s || name == nodeclass.Talos; dropped != want {
			t.Errorf("class %s drops a capability: %v", name, dropped)
		}
		if name != nodeclass.Containerd {
			continue
		}
		context := container.SecurityContext
		if *context.SeccompProfile.LocalhostProfile != "class.json" || *context.SELinuxOptions != (corev1.SELinuxOptions{Type: "class_t", Level: "s0:c1"}) ||
			ptr.Deref(context.AppArmorProfile.LocalhostProfile, "") != "ours" {
			t.Errorf("the security context of class %s is %+v", name, context)
		}
	}
	if seen != len(classes) {
		t.Errorf("%d DaemonSets", seen)
	}
}

// Nothing is asked of the Security Profiles Operator for a class that has a profile of its own.
func TestAClassWithASeccompProfileNeedsNoOther(t *testing.T) {
	driver := narrow()
	driver.Spec.NodeClasses = []v1alpha1.NodeClass{{Name: nodeclass.Containerd, Confinement: &v1alpha1.ContainerConfinement{
		SeccompProfile: &v1alpha1.ContainerSeccompProfile{Type: v1alpha1.SeccompProfileRuntimeDefault}}}}
	input := Input{Driver: driver, Names: Names(driver), Settings: settings, Classes: []nodeclass.Class{class(t, nodeclass.Containerd, driver.Spec.NodeClasses...)}}
	if got := Render(input).Seccomp; got.Missing || got.Profile != "" {
		t.Errorf("%+v", got)
	}
}
