package sandboxprobe

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/image-csi/image-csi-operator/internal/sandbox"
)

// step is what was attempted, in words for people.
type step string

const (
	makeUserNamespace step = "make a user namespace"
	makeNamespaces    step = "make the namespaces of a sandbox and map its user"
	mountProc         step = "mount /proc"
	isolate           step = "look out of the sandbox"
)

// failure is the step that failed, and why.
type failure struct {
	step step
	err  error
}

func (f *failure) Error() string { return string(f.step) + ": " + f.err.Error() }
func (f *failure) Unwrap() error { return f.err }

// node is what the node says of itself in /proc/sys.
type node struct {
	// appArmor is set if AppArmor restricts what unprivileged processes can do in user namespaces they make
	// (kernel.apparmor_restrict_unprivileged_userns).
	appArmor bool
}

// nodeAt reads what the node says beneath a directory, /proc/sys. What is not there restricts nothing.
func nodeAt(dir string) node {
	value, _ := os.ReadFile(filepath.Join(dir, "kernel/apparmor_restrict_unprivileged_userns"))
	return node{appArmor: strings.TrimSpace(string(value)) == "1"}
}

// diagnose returns the verdict for what failed. A limit of namespaces is ENOSPC, before Linux 4.9 EUSERS (user_namespaces(7)).
func diagnose(err error, on node) sandbox.Verdict {
	if err == nil {
		return sandbox.Proven
	}
	var at *failure
	if !errors.As(err, &at) {
		return sandbox.StepFailed
	}
	refused := errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.EACCES)
	full := errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EUSERS)
	switch {
	case at.step == isolate:
		return sandbox.NotIsolated
	case full && (at.step == makeUserNamespace || at.step == makeNamespaces):
		return sandbox.UserNamespaceLimit
	case refused && on.appArmor:
		return sandbox.AppArmorRestriction
	case refused && at.step == makeUserNamespace:
		return sandbox.UserNamespacesForbidden
	case refused && at.step == mountProc:
		return sandbox.ProcMasked
	}
	return sandbox.StepFailed
}
