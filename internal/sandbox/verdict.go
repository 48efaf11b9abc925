package sandbox

import "strings"

// Verdict is what became of a probe: an attempt to make a sandbox on a node, under the restrictions of a pod that makes sandboxes.
type Verdict string

// The verdicts of the probe's program.
const (
	// Proven is the verdict of a node on which a sandbox was made and held.
	Proven Verdict = "Proven"
	// UserNamespacesForbidden is that of a node on which the container may make no user namespace.
	UserNamespacesForbidden Verdict = "UserNamespacesForbidden"
	// UserNamespaceLimit is that of a node that has no room for one more (user.max_user_namespaces).
	UserNamespaceLimit Verdict = "UserNamespaceLimit"
	// AppArmorRestriction is that of a node on which AppArmor takes the capabilities from new user namespaces.
	AppArmorRestriction Verdict = "AppArmorRestriction"
	// ProcMasked is that of a node on which the container's own /proc is masked, so that no other can be mounted.
	ProcMasked Verdict = "ProcMasked"
	// NotIsolated is that of a node on which a process of the sandbox could do what it must not, and NotConfined that of one on which the
	// container was not confined as it asked.
	NotIsolated Verdict = "NotIsolated"
	NotConfined Verdict = "NotConfined"
	// StepFailed is that of a node on which another step failed.
	StepFailed Verdict = "StepFailed"
)

// Verdicts returns the verdicts of the probe's program.
func Verdicts() []Verdict {
	return []Verdict{Proven, UserNamespacesForbidden, UserNamespaceLimit, AppArmorRestriction, ProcMasked, NotIsolated, NotConfined, StepFailed}
}

// VerdictOf returns the verdict that a report of the probe's program begins with; empty if it begins with none. The report comes from
// a node, which may have written anything, so what follows the verdict is not for programs.
func VerdictOf(report string) Verdict {
	for _, verdict := range Verdicts() {
		if rest, begins := strings.CutPrefix(report, string(verdict)); begins && (rest == "" || strings.HasPrefix(rest, ":") || rest == "\n") {
			return verdict
		}
	}
	return ""
}
