package confinement

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	seccomp "github.com/elastic/go-seccomp-bpf"
	"golang.org/x/sys/unix"

	"github.com/image-csi/image-csi-operator/internal/contract"
	"github.com/image-csi/image-csi-operator/internal/privileges"
)

// contained returns everything that does not hold of a process that gets step by step what its container is meant to run under.
func contained() error {
	asked := contract.Confinement{Unprivileged: true, Seccomp: contract.ProfileRuntimeDefault}
	kept := privileges.Container(contract.AccessReadWrite)
	ready := func(want string) error {
		err := InContainer(asked, kept).Ready(context.Background())
		less := (*Less)(nil)
		switch {
		case want == "" && err != nil:
			return fmt.Errorf("it lacks nothing: %w", err)
		case want != "" && (!errors.As(err, &less) || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "/proc/self/task/")):
			return fmt.Errorf("without %s: %w", want, errors.Join(err))
		}
		return nil
	}
	thread, ended := threadsThatStood()
	defer ended()
	wrong := []error{ready("CapPrm")}
	more := &Confinement{kept: privileges.Bits(kept)}
	wrong = append(wrong, more.dropCapabilities(), ready("NoNewPrivs"))

	// What one thread has, another may lack. Which is looked at first is not known.
	wrong = append(wrong, thread(func() error { return unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) }), ready("its "))
	wrong = append(wrong, onAllThreads(unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1), ready("Seccomp"))
	wrong = append(wrong, thread(func() error { return allowAll(0) }), ready("Seccomp"))
	wrong = append(wrong, thread(func() error { return allowAll(seccomp.FilterFlagTSync) }), ready(""))

	// More than is asked for is no less.
	_, err := Apply(nil)
	return errors.Join(append(wrong, err, ready(""))...)
}

// allowAll puts a filter on the calling thread that refuses next to nothing, in the place of a container runtime's.
func allowAll(flag seccomp.FilterFlag) error {
	return seccomp.LoadFilter(seccomp.Filter{Flag: flag, Policy: seccomp.Policy{DefaultAction: seccomp.ActionAllow,
		Syscalls: []seccomp.SyscallGroup{{Action: seccomp.ActionErrno, Names: []string{"reboot"}}}}})
}

// process is a directory like /proc with one thread.
func process(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

const (
	statusFile   = "self/task/7/status"
	currentFile  = "self/task/7/attr/current"
	appArmorFile = "self/task/7/attr/apparmor/current"
	systemsFile  = "filesystems"
	goodStatus   = "Name:\tx\nCapInh:\t0\nCapPrm:\t200000\nCapEff:\t200000\nCapBnd:\t200000\nCapAmb:\t0\nNoNewPrivs:\t1\nSeccomp:\t2\n"
)

func TestLabelsOfSecurityModulesAreCompared(t *testing.T) {
	with, without := "nodev\tproc\nnodev\tselinuxfs\n\text4\n", "nodev\tproc\n\text4\n"
	for name, test := range map[string]struct {
		asked             contract.Confinement
		appArmor, current string
		filesystems       string
		want              string // nothing: it holds
	}{
		"AppArmor is asked for nothing":     {contract.Confinement{AppArmor: "Unconfined"}, "unconfined\n", "", without, ""},
		"more than AppArmor is asked for":   {contract.Confinement{AppArmor: "Unconfined"}, "x (enforce)\n", "", without, ""},
		"the runtime's profile":             {contract.Confinement{AppArmor: "RuntimeDefault"}, "cri-containerd.apparmor.d (enforce)\n", "", without, ""},
		"a profile of the node":             {contract.Confinement{AppArmor: "Localhost/a b"}, "a b (enforce)\n", "", without, ""},
		"a profile that kills":              {contract.Confinement{AppArmor: "Localhost/a"}, "a (kill)\n", "", without, ""},
		"a stack of profiles":               {contract.Confinement{AppArmor: "Localhost/a"}, "b//&a (enforce)\n", "", without, ""},
		"an older kernel's file":            {contract.Confinement{AppArmor: "Localhost/a"}, "", "a (enforce)\n", without, ""},
		"another profile":                   {contract.Confinement{AppArmor: "Localhost/a"}, "ab (enforce)\n", "", without, `"ab (enforce)", and should be Localhost/a`},
		"a profile that only complains":     {contract.Confinement{AppArmor: "Localhost/a"}, "a (complain)\n", "", without, `"a (complain)", which is not enforced`},
		"a stack of which it is not known":  {contract.Confinement{AppArmor: "Localhost/a"}, "b//&a (mixed)\n", "", without, "not enforced"},
		"a profile that was removed":        {contract.Confinement{AppArmor: "RuntimeDefault"}, "unconfined\n", "", without, `"unconfined", which is not enforced`},
		"SELinux instead of AppArmor":       {contract.Confinement{AppArmor: "RuntimeDefault"}, "", "u:r:t:s0\x00", with, "not enforced"},
		"no AppArmor":                       {contract.Confinement{AppArmor: "RuntimeDefault"}, "", "", without, "AppArmor is not enabled on this node"},
		"SELinux is not there":              {contract.Confinement{SELinuxType: "own_t", SELinuxLevel: "s0"}, "", "", without, ""},
		"SELinux has the type":              {contract.Confinement{SELinuxType: "own_t", SELinuxLevel: "s0:c1,c2"}, "", "u:r:own_t:s0:c1,c2\x00", with, ""},
		"SELinux has another type":          {contract.Confinement{SELinuxType: "own_t"}, "", "u:r:spc_t:s0\x00", with, `"u:r:spc_t:s0", and its type should be own_t`},
		"SELinux has another level":         {contract.Confinement{SELinuxType: "own_t", SELinuxLevel: "s0:c1"}, "", "u:r:own_t:s0\x00", with, "its level should be s0:c1"},
		"SELinux has not labelled anything": {contract.Confinement{SELinuxType: "own_t"}, "", "kernel\x00", with, "its type should be own_t"},
		"spc_t asks for nothing":            {contract.Confinement{SELinuxType: "spc_t", SELinuxLevel: "s0"}, "", "u:r:own_t:s0:c1\x00", with, ""},
	} {
		files := map[string]string{statusFile: goodStatus, systemsFile: test.filesystems}
		if test.appArmor != "" {
			files[appArmorFile] = test.appArmor
		}
		if test.current != "" {
			files[currentFile] = test.current
		}
		test.asked.Unprivileged = true
		err := (&Container{asked: test.asked, capabilities: 1 << unix.CAP_SYS_ADMIN, proc: process(t, files)}).Ready(t.Context())
		less := (*Less)(nil)
		if test.want == "" && err != nil || test.want != "" && (!errors.As(err, &less) || !strings.Contains(err.Error(), test.want)) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// What cannot be found out is not in force, and ends no process either.
func TestWhatCannotBeReadIsNotTakenForConfinement(t *testing.T) {
	for name, files := range map[string]map[string]string{
		"no threads":                   {systemsFile: "ext4\n"},
		"no file systems":              {statusFile: goodStatus},
		"no SELinux label":             {statusFile: goodStatus, systemsFile: "selinuxfs\n", appArmorFile: "a (enforce)"},
		"an empty SELinux label":       {statusFile: goodStatus, systemsFile: "selinuxfs\n", appArmorFile: "a (enforce)", currentFile: "\x00"},
		"an AppArmor label unreadable": {statusFile: goodStatus, systemsFile: "ext4\n", appArmorFile + "/directory": ""},
	} {
		c := Container{asked: contract.Confinement{Unprivileged: true, AppArmor: "Localhost/a", SELinuxType: "own_t"}, capabilities: 1 << unix.CAP_SYS_ADMIN, proc: process(t, files)}
		less := (*Less)(nil)
		if err := c.Ready(t.Context()); err == nil || errors.As(err, &less) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAPrivilegedContainerIsAskedForNothing(t *testing.T) {
	if err := InContainer(contract.Confinement{}, nil).Ready(t.Context()); err != nil {
		t.Error(err)
	}
}
