package security

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"

	"github.com/image-csi/image-csi-operator/api/v1alpha1"
	"github.com/image-csi/image-csi-operator/internal/contract"
	"github.com/image-csi/image-csi-operator/internal/operator/nodeclass"
)

const (
	narrowHint   = "spec.nodePlugin.seccompProfile: Narrow, with the Security Profiles Operator, also filters the system calls of the container's start"
	appArmorHint = "confinement.appArmorProfile, on nodes with AppArmor and Linux 6.7 or newer that have the profile of config/apparmor, keeps threads that mount from the node's other files"
	readOnlyHint = "spec.volumes.access: ReadOnly, if no pod has to write to its volume, takes the capabilities of writable volumes away"
)

func TestWhatAClassMayDoIsDescribedWordForWord(t *testing.T) {
	all := []string{"CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "MKNOD", "SETFCAP", "SYS_ADMIN"}
	table := nodeclass.NewTable(nil)
	containerd, _ := table.Lookup(nodeclass.Containerd)
	bottlerocket, _ := table.Lookup(nodeclass.Bottlerocket)
	crio, _ := table.Lookup(nodeclass.CRIO)
	narrow := &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeLocalhost, LocalhostProfile: ptr.To("operator/driver.json")}
	flipped := Context(containerd, "", RuntimeDefault())
	flipped.Privileged = ptr.To(true)
	chosen := containerd
	chosen.Confinement = v1alpha1.ContainerConfinement{DropCapabilities: []v1alpha1.DroppableCapability{"SETFCAP", "MKNOD"},
		VolumeSELinuxOptions: &v1alpha1.VolumeSELinuxOptions{Type: "own_t"}}
	open := Context(containerd, "", RuntimeDefault())
	open.SeccompProfile, open.AppArmorProfile, open.SELinuxOptions = nil, nil, nil

	for name, test := range map[string]struct {
		class   nodeclass.Class
		access  v1alpha1.Access
		context *corev1.SecurityContext
		want    v1alpha1.Confinement
	}{
		"containerd": {containerd, v1alpha1.AccessReadWrite, Context(containerd, v1alpha1.AccessReadWrite, RuntimeDefault()), v1alpha1.Confinement{
			Container: "Unprivileged", Capabilities: all, SeccompProfiles: []string{"Process", "RuntimeDefault"},
			AppArmorProfile: "Unconfined", SELinuxType: "spc_t", VolumeSELinuxType: "container_file_t", Tighter: []string{narrowHint, appArmorHint, readOnlyHint},
		}},
		"a read-only driver on containerd with a profile of its own": {containerd, v1alpha1.AccessReadOnly, Context(containerd, v1alpha1.AccessReadOnly, narrow), v1alpha1.Confinement{
			Container: "Unprivileged", Capabilities: []string{"DAC_OVERRIDE", "FOWNER", "SYS_ADMIN"},
			SeccompProfiles: []string{"Process", "Localhost/operator/driver.json"}, AppArmorProfile: "Unconfined", SELinuxType: "spc_t", VolumeSELinuxType: "container_file_t",
			Tighter: []string{appArmorHint},
		}},
		"an administrator's choice": {chosen, v1alpha1.AccessReadWrite, Context(chosen, v1alpha1.AccessReadWrite, RuntimeDefault()), v1alpha1.Confinement{
			Container: "Unprivileged", Capabilities: []string{"CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "SYS_ADMIN"}, SeccompProfiles: []string{"Process", "RuntimeDefault"},
			AppArmorProfile: "Unconfined", SELinuxType: "spc_t", VolumeSELinuxType: "own_t", Tighter: []string{narrowHint, appArmorHint, readOnlyHint},
		}},
		"bottlerocket": {bottlerocket, v1alpha1.AccessReadOnly, Context(bottlerocket, v1alpha1.AccessReadOnly, RuntimeDefault()), v1alpha1.Confinement{
			Container: "Unprivileged", Capabilities: []string{"DAC_OVERRIDE", "FOWNER", "SYS_ADMIN"},
			SeccompProfiles: []string{"Process", "RuntimeDefault"}, AppArmorProfile: "Unconfined", VolumeSELinuxType: "container_file_t", Tighter: []string{narrowHint},
		}},
		"CRI-O": {crio, "", Context(crio, "", nil), v1alpha1.Confinement{
			Container: "Privileged", Capabilities: all, SeccompProfiles: []string{"Process"}, VolumeSELinuxType: "container_file_t", Tighter: []string{
				"mountMode: " + contract.ModeNsenter + " for class crio in spec.nodeClasses runs the node plugin in a container that is not privileged", readOnlyHint,
			},
		}},
		"a container that somebody has made privileged": {containerd, v1alpha1.AccessReadOnly, flipped, v1alpha1.Confinement{
			Container: "Privileged", Capabilities: []string{"DAC_OVERRIDE", "FOWNER", "SYS_ADMIN"}, SeccompProfiles: []string{"Process"}, VolumeSELinuxType: "container_file_t", Tighter: []string{
				"mountMode: " + contract.ModeNsenter + " for class containerd in spec.nodeClasses runs the node plugin in a container that is not privileged",
			},
		}},
		"a container that somebody has opened": {containerd, v1alpha1.AccessReadOnly, open, v1alpha1.Confinement{
			Container: "Unprivileged", Capabilities: []string{"DAC_OVERRIDE", "FOWNER", "SYS_ADMIN"}, SeccompProfiles: []string{"Process"}, VolumeSELinuxType: "container_file_t",
			Tighter: []string{narrowHint},
		}},
		"no security context": {containerd, v1alpha1.AccessReadOnly, nil, v1alpha1.Confinement{
			Container: "Unprivileged", Capabilities: []string{"DAC_OVERRIDE", "FOWNER", "SYS_ADMIN"}, SeccompProfiles: []string{"Process"}, VolumeSELinuxType: "container_file_t",
			Tighter: []string{narrowHint},
		}},
	} {
		if diff := cmp.Diff(&test.want, Describe(test.class, test.access, test.context, Told(test.context, test.class.Confinement))); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestTheNetworkOfAPodIsDescribed(t *testing.T) {
	containerd, _ := nodeclass.NewTable(nil).Lookup(nodeclass.Containerd)
	var own, host v1alpha1.Confinement
	DescribeNetwork(&own, containerd, &corev1.PodSpec{})
	DescribeNetwork(&host, containerd, &corev1.PodSpec{HostNetwork: true})
	if own.Network != v1alpha1.NetworkPod || own.Tighter != nil {
		t.Errorf("a network of its own: %+v", own)
	}
	if host.Network != v1alpha1.NetworkHost || len(host.Tighter) != 1 || !strings.Contains(host.Tighter[0], "network: Pod for class containerd in spec.nodeClasses") {
		t.Errorf("the node's: %+v", host)
	}
}
