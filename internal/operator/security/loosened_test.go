package security

import (
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"

	"github.com/image-csi/image-csi-operator/api/v1alpha1"
	"github.com/image-csi/image-csi-operator/internal/operator/nodeclass"
)

func TestAFieldThatIsLooserThanTheNodePluginIsToldIsNamed(t *testing.T) {
	containerd, _ := nodeclass.NewTable(nil).Lookup(nodeclass.Containerd)
	containerd.Confinement = v1alpha1.ContainerConfinement{
		AppArmorProfile: &v1alpha1.ContainerAppArmorProfile{Type: v1alpha1.AppArmorProfileLocalhost, LocalhostProfile: "ours"},
		SELinuxOptions:  &v1alpha1.ContainerSELinuxOptions{Type: "own_t"},

		DropCapabilities: []v1alpha1.DroppableCapability{"MKNOD"},
	}
	for name, test := range map[string]struct {
		edit func(*corev1.SecurityContext)
		want []string
	}{
		"nothing":                {func(*corev1.SecurityContext) {}, nil},
		"less than it needs":     {func(c *corev1.SecurityContext) { c.Capabilities.Add = c.Capabilities.Add[:1] }, nil},
		"privileged":             {func(c *corev1.SecurityContext) { c.Privileged = ptr.To(true) }, []string{"privileged: true"}},
		"new privileges":         {func(c *corev1.SecurityContext) { c.AllowPrivilegeEscalation = nil }, []string{"allowPrivilegeEscalation: true"}},
		"a capability":           {func(c *corev1.SecurityContext) { c.Capabilities.Add = append(c.Capabilities.Add, "NET_RAW") }, []string{"capabilities.add: NET_RAW"}},
		"what is dropped":        {func(c *corev1.SecurityContext) { c.Capabilities.Add = append(c.Capabilities.Add, "MKNOD") }, []string{"capabilities.add: MKNOD"}},
		"the runtime's own":      {func(c *corev1.SecurityContext) { c.Capabilities.Drop = nil }, []string{"capabilities.drop without ALL"}},
		"a writable root":        {func(c *corev1.SecurityContext) { c.ReadOnlyRootFilesystem = nil }, []string{"readOnlyRootFilesystem: false"}},
		"all of /proc":           {func(c *corev1.SecurityContext) { c.ProcMount = ptr.To(corev1.UnmaskedProcMount) }, []string{"procMount: Unmasked"}},
		"no filter":              {func(c *corev1.SecurityContext) { c.SeccompProfile = nil }, []string{"seccompProfile: none instead of RuntimeDefault"}},
		"another filter":         {func(c *corev1.SecurityContext) { c.SeccompProfile.Type = "Unconfined" }, []string{"seccompProfile: Unconfined instead of RuntimeDefault"}},
		"no AppArmor profile":    {func(c *corev1.SecurityContext) { c.AppArmorProfile = nil }, []string{"appArmorProfile: none instead of Localhost/ours"}},
		"another SELinux type":   {func(c *corev1.SecurityContext) { c.SELinuxOptions.Type = "spc_t" }, []string{"seLinuxOptions: spc_t:s0 instead of own_t:s0"}},
		"no SELinux type":        {func(c *corev1.SecurityContext) { c.SELinuxOptions = nil }, []string{"seLinuxOptions: none instead of own_t:s0"}},
		"a user without effects": {func(c *corev1.SecurityContext) { c.RunAsUser = ptr.To[int64](1) }, nil},
	} {
		context := Context(containerd, v1alpha1.AccessReadWrite, RuntimeDefault())
		told := Told(context, containerd.Confinement)
		test.edit(context)
		if got := Loosened(context, told, v1alpha1.AccessReadWrite); !slices.Equal(got, test.want) {
			t.Errorf("%s: %q, want %q", name, got, test.want)
		}
	}
	containerd.Confinement.DropCapabilities = nil
	readOnly := Context(containerd, v1alpha1.AccessReadWrite, RuntimeDefault())
	if got, want := Loosened(readOnly, Told(readOnly, none), v1alpha1.AccessReadOnly), []string{"capabilities.add: CHOWN, SETFCAP, MKNOD, FSETID"}; !slices.Equal(got, want) {
		t.Errorf("a read-only driver: %q, want %q", got, want)
	}
	containerd.Confinement = v1alpha1.ContainerConfinement{}
	plain := Context(containerd, "", RuntimeDefault())
	told := Told(plain, none)
	plain.AppArmorProfile, plain.SELinuxOptions = &corev1.AppArmorProfile{Type: corev1.AppArmorProfileTypeRuntimeDefault}, nil
	if got := Loosened(plain, told, ""); got != nil {
		t.Errorf("more than it is told: %q", got)
	}
	plain.SELinuxOptions = &corev1.SELinuxOptions{Type: "unconfined_t", Level: "s0"}
	if got, want := Loosened(plain, told, ""), []string{"seLinuxOptions: unconfined_t:s0 instead of spc_t:s0"}; !slices.Equal(got, want) {
		t.Errorf("a type of which nothing is known: %q, want %q", got, want)
	}
}

func TestAPrivilegedContainerCanBeLoosenedInLittle(t *testing.T) {
	crio, _ := nodeclass.NewTable(nil).Lookup(nodeclass.CRIO)
	context := Context(crio, "", nil)
	if got := Loosened(context, Told(context, none), ""); got != nil {
		t.Errorf("%q", got)
	}
	context.ReadOnlyRootFilesystem = nil
	if got := Loosened(context, Told(context, none), ""); len(got) != 1 {
		t.Errorf("%q", got)
	}
}

func TestWhatAPodSharesWithItsNodeIsNamed(t *testing.T) {
	if got := LoosenedPod(&corev1.PodSpec{}, v1alpha1.NetworkPod); got != nil {
		t.Errorf("%q", got)
	}
	pod := &corev1.PodSpec{HostPID: true, HostIPC: true, HostNetwork: true}
	if got, want := LoosenedPod(pod, v1alpha1.NetworkPod), []string{"hostPID: true", "hostIPC: true", "hostNetwork: true"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	if got, want := LoosenedPod(pod, v1alpha1.NetworkHost), []string{"hostPID: true", "hostIPC: true"}; !slices.Equal(got, want) {
		t.Errorf("a class in the node's network: %q, want %q", got, want)
	}
}
