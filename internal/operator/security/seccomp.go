package security

import (
	"slices"

	"github.com/image-csi/image-csi-operator/internal/privileges"
)

// States that the Security Profiles Operator gives a profile: the lowest of all nodes (its API, status.status).
const (
	SeccompPending     = "Pending"
	SeccompInProgress  = "InProgress"
	SeccompInstalled   = "Installed"
	SeccompTerminating = "Terminating"
)

// Seccomp is the state of the node plugin's own seccomp profile.
type Seccomp struct {
	// Profile is the name of the SeccompProfile; empty if none is asked for.
	Profile string
	// Missing is set when the cluster lacks the kind.
	Missing bool
	// State is the profile's state by the Security Profiles Operator, and Message why; both may be empty.
	State, Message string
	// File is what the node plugins get: a path below the kubelet's directory for profiles. Empty: the runtime's own.
	File string
}

// enosys is the error of a system call that a kernel does not have.
const enosys = 38

// Profile is the seccomp profile of the node plugin in mode Nsenter: the spec of a SeccompProfile, which has the fields of
// the OCI runtime specification (config-linux.md, "Seccomp"). What it does not list fails with EPERM. A runtime skips
// names that the processor's architecture does not have. It is wider than the filter that the process puts on itself: it holds
// from the container's first instruction on.
func Profile() map[string]any {
	rules := []any{allow(append(privileges.Unconditional(), privileges.Starting()...))}
	for _, call := range append(privileges.Entrance(), privileges.Isolation()...) {
		rules = append(rules, allow([]string{call.Name}, argument(call)))
	}
	return map[string]any{
		"defaultAction": "SCMP_ACT_ERRNO",
		"syscalls":      append(rules, map[string]any{"names": []any{"clone3"}, "action": "SCMP_ACT_ERRNO", "errnoRet": int64(enosys)}),
	}
}

func allow(names []string, arguments ...any) map[string]any {
	var listed []any
	for _, name := range slices.Sorted(slices.Values(names)) {
		listed = append(listed, name)
	}
	rule := map[string]any{"names": listed, "action": "SCMP_ACT_ALLOW"}
	if len(arguments) > 0 {
		rule["args"] = arguments
	}
	return rule
}

// argument compares an argument of a system call. With SCMP_CMP_MASKED_EQ, its second value is what the masked bits must be: none.
func argument(call privileges.SystemCall) map[string]any {
	operator := "SCMP_CMP_EQ"
	if call.Test == privileges.NoBits {
		operator = "SCMP_CMP_MASKED_EQ"
	}
	return map[string]any{"index": int64(call.Argument), "op": operator, "value": int64(call.Value)}
}
