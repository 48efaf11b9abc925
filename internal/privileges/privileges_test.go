package privileges

import (
	"slices"
	"strings"
	"testing"

	"github.com/image-csi/image-csi-operator/internal/contract"
)

func TestCapabilitiesHaveTheNamesThatPodsUse(t *testing.T) {
	for access, want := range map[contract.Access]string{
		"":                       "SYS_ADMIN SYS_CHROOT SYS_PTRACE DAC_OVERRIDE CHOWN FOWNER SETFCAP MKNOD FSETID",
		contract.AccessReadWrite: "SYS_ADMIN SYS_CHROOT SYS_PTRACE DAC_OVERRIDE CHOWN FOWNER SETFCAP MKNOD FSETID",
		contract.AccessReadOnly:  "SYS_ADMIN SYS_CHROOT SYS_PTRACE DAC_OVERRIDE FOWNER",
	} {
		var names []string
		for _, c := range Container(access) {
			names = append(names, c.String())
		}
		if got := strings.Join(names, " "); got != want {
			t.Errorf("%q: capabilities %s, want %s", access, got, want)
		}
		for _, c := range Serving(access) {
			if !slices.Contains(Container(access), c) {
				t.Errorf("%q: the process keeps %s, which its container does not have", access, c)
			}
		}
	}
}

func TestSomeCapabilitiesMayBeDropped(t *testing.T) {
	for text, want := range map[string]string{
		"":                      "SYS_ADMIN DAC_OVERRIDE CHOWN FOWNER SETFCAP MKNOD FSETID",
		"MKNOD":                 "SYS_ADMIN DAC_OVERRIDE CHOWN FOWNER SETFCAP FSETID",
		"FSETID,MKNOD,SETFCAP":  "SYS_ADMIN DAC_OVERRIDE CHOWN FOWNER",
		"SYS_ADMIN":             "",
		"MKNOD,":                "",
		strings.Repeat("x", 99): "",
	} {
		dropped, err := ParseDropped(text)
		if want == "" {
			if err == nil || len(err.Error()) > 300 {
				t.Errorf("%.32q is read as %v, %v", text, dropped, err)
			}
			continue
		}
		var names []string
		for _, c := range Serving(contract.AccessReadWrite, dropped...) {
			names = append(names, c.String())
		}
		if got := strings.Join(names, " "); err != nil || got != want {
			t.Errorf("without %s: %s, %v", text, got, err)
		}
	}
}

func TestEverySystemCallIsListedOnce(t *testing.T) {
	seen := map[string]bool{}
	for _, name := range append(Unconditional(), Starting()...) {
		if seen[name] {
			t.Errorf("%s is listed twice", name)
		}
		seen[name] = true
	}
	for _, call := range append(Conditional(), Entrance()...) {
		if slices.Contains(Unconditional(), call.Name) {
			t.Errorf("%s is allowed with some arguments, and with all", call.Name)
		}
	}
	// The container's own profile holds for the process as well, so it must allow at least as much.
	for _, call := range Conditional() {
		if !slices.Contains(Isolation(), call) && !slices.Contains(Starting(), call.Name) {
			t.Errorf("%s is made while the process serves, and not on the way there", call.Name)
		}
	}
}

func TestWhatNoNodePluginDoesIsNotListed(t *testing.T) {
	for _, name := range strings.Fields(`bpf ptrace process_vm_readv process_vm_writev pidfd_open pidfd_getfd perf_event_open keyctl add_key
open_by_handle_at pivot_root chroot kexec_load init_module finit_module mknod mknodat execveat userfaultfd
io_uring_setup reboot swapon settimeofday setfsuid setxattr memfd_create clone3 personality`) {
		if slices.Contains(append(Unconditional(), Starting()...), name) {
			t.Errorf("%s is allowed", name)
		}
	}
	for _, name := range strings.Fields("execve setns unshare capset setuid seccomp kill mmap mprotect prctl ioctl") {
		if slices.Contains(Unconditional(), name) {
			t.Errorf("%s is allowed while the process serves", name)
		}
	}
}
