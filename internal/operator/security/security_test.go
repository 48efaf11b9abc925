package security

import (
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/image-csi/image-csi-operator/api/v1alpha1"
	"github.com/image-csi/image-csi-operator/internal/contract"
	"github.com/image-csi/image-csi-operator/internal/operator/nodeclass"
)

func context(name string, mode v1alpha1.MountMode) *corev1.SecurityContext {
	class, _ := nodeclass.NewTable(nil).Lookup(name)
	class.MountMode = mode
	return Context(class, v1alpha1.AccessReadWrite, RuntimeDefault())
}

func TestNsenterIsNotPrivileged(t *testing.T) {
	for _, name := range []string{nodeclass.Containerd, nodeclass.CRIO, nodeclass.OpenShift} {
		got := context(name, contract.ModeNsenter)
		if *got.Privileged || *got.AllowPrivilegeEscalation || !*got.ReadOnlyRootFilesystem {
			t.Errorf("%s: privileged %v, escalation %v, read-only root %v", name, *got.Privileged, *got.AllowPrivilegeEscalation, *got.ReadOnlyRootFilesystem)
		}
		if !slices.Equal(got.Capabilities.Drop, []corev1.Capability{"ALL"}) || len(got.Capabilities.Add) != 9 {
			t.Errorf("%s: capabilities %+v", name, got.Capabilities)
		}
		if slices.Contains(got.Capabilities.Add, "CAP_SYS_ADMIN") {
			t.Errorf("%s: the API server refuses CAP_SYS_ADMIN in that spelling next to allowPrivilegeEscalation: false", name)
		}
	}
}

func TestAReadOnlyDriverHasFewerCapabilities(t *testing.T) {
	class, _ := nodeclass.NewTable(nil).Lookup(nodeclass.Containerd)
	got := Context(class, v1alpha1.AccessReadOnly, RuntimeDefault()).Capabilities.Add
	if want := []corev1.Capability{"SYS_ADMIN", "SYS_CHROOT", "SYS_PTRACE", "DAC_OVERRIDE", "FOWNER"}; !slices.Equal(got, want) {
		t.Errorf("capabilities %v, want %v", got, want)
	}
}

func TestOnlyBidirectionalIsPrivileged(t *testing.T) {
	got := context(nodeclass.CRIO, contract.ModeBidirectional)
	if !*got.Privileged || got.AllowPrivilegeEscalation != nil || got.Capabilities != nil {
		t.Errorf("context %+v", got)
	}
}

func TestSystemsWithAPolicyOfTheirOwnKeepTheirLabel(t *testing.T) {
	for _, name := range []string{nodeclass.Bottlerocket, nodeclass.Talos} {
		if got := context(name, contract.ModeNsenter); got.SELinuxOptions != nil {
			t.Errorf("%s: SELinux options %+v", name, got.SELinuxOptions)
		}
	}
	gpu := nodeclass.Class{Name: "gpu", MountMode: contract.ModeNsenter, Policy: nodeclass.PolicyOwn}
	if got := Context(gpu, "", RuntimeDefault()); got.SELinuxOptions != nil {
		t.Errorf("an added class: SELinux options %+v", got.SELinuxOptions)
	}
	if got := context(nodeclass.K3s, contract.ModeNsenter); got.SELinuxOptions == nil || got.SELinuxOptions.Type != "spc_t" {
		t.Errorf("SELinux options %+v", got.SELinuxOptions)
	}
}

func TestAContainerTellsWhosePolicyItIsMadeFor(t *testing.T) {
	for _, policy := range []nodeclass.SELinuxPolicy{nodeclass.PolicyOwn, nodeclass.PolicyCommon} {
		if got := PolicyOf(Context(nodeclass.Class{MountMode: contract.ModeNsenter, Policy: policy}, "", RuntimeDefault())); got != policy {
			t.Errorf("%q, want %q", got, policy)
		}
		if got := PolicyOf(Context(nodeclass.Class{MountMode: contract.ModeBidirectional, Policy: policy}, "", nil)); got != nodeclass.PolicyUnknown {
			t.Errorf("a privileged one: %q", got)
		}
	}
	if got := PolicyOf(nil); got != nodeclass.PolicyUnknown {
		t.Errorf("none: %q", got)
	}
}

func TestTheNarrowProfileLeavesOutWhatTheNodePluginNeverDoes(t *testing.T) {
	listed := map[string]int{}
	for _, rule := range Profile()["syscalls"].([]any) {
		rule := rule.(map[string]any)
		for _, name := range rule["names"].([]any) {
			listed[name.(string)]++
			if conditional := rule["args"] != nil || rule["action"] != "SCMP_ACT_ALLOW"; conditional != slices.Contains([]string{"clone", "clone3", "unshare", "setns", "socket"}, name.(string)) {
				t.Errorf("%s: conditional is %v", name, conditional)
			}
		}
	}
	for name, rules := range listed {
		if rules > 1 && name != "socket" {
			t.Errorf("%s is listed %d times", name, rules)
		}
	}
	for _, name := range []string{"bpf", "ptrace", "process_vm_readv", "process_vm_writev", "pidfd_getfd", "perf_event_open", "keyctl", "add_key",
		"open_by_handle_at", "pivot_root", "chroot", "kexec_load", "init_module", "finit_module", "mknod", "mknodat", "execveat", "userfaultfd",
		"io_uring_setup", "reboot", "swapon", "settimeofday", "setfsuid", "setxattr", "memfd_create"} {
		if listed[name] > 0 {
			t.Errorf("%s is allowed", name)
		}
	}
}
