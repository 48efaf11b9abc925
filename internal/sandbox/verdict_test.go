package sandbox

import (
	"strings"
	"testing"
)

func TestAVerdictIsReadFromTheStartOfAReport(t *testing.T) {
	for report, want := range map[string]Verdict{
		"Proven":                                 Proven,
		"Proven\n":                               Proven,
		"ProcMasked: mount /proc: not permitted": ProcMasked,
		"UserNamespaceLimit: ":                   UserNamespaceLimit,
		"Provenance":                             "",
		"proven":                                 "",
		" Proven":                                "",
		"Proven by me":                           "",
		"":                                       "",
		"panic: Proven":                          "",
		"NotStarted":                             "", // not the program's to say
		strings.Repeat("Proven", 1<<20):          "",
	} {
		if got := VerdictOf(report); got != want {
			t.Errorf("%.40q is read as %q, want %q", report, got, want)
		}
	}
}
