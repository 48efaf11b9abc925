package document

import (
	"fmt"

	"github.com/image-csi/image-csi-operator/internal/cli/seen"
)

// CheckResult is what a check found.
type CheckResult string

// The results.
const (
	// CheckPassed: nothing to do.
	CheckPassed CheckResult = "Passed"
	// CheckWarning: it works, and somebody should know.
	CheckWarning CheckResult = "Warning"
	// CheckError: image volumes do not work somewhere.
	CheckError CheckResult = "Error"
	// CheckSkipped: the caller may not read what it needs.
	CheckSkipped CheckResult = "Skipped"
)

// Check is one thing that was looked at.
type Check struct {
	// Group and ID name the check; a script may depend on them.
	Group string `json:"group"`
	ID    string `json:"id"`
	// Result and Message are what it found.
	Result  CheckResult `json:"result"`
	Message string      `json:"message"`
	// Do are commands and changes that cure it.
	Do []string `json:"do,omitempty"`
	// See is the page, with its anchor, that has more; empty for a check that passed.
	See string `json:"see,omitempty"`
}

// Doctor is what was checked, in groups.
type Doctor struct {
	header
	Checks   []Check       `json:"checks"`
	Errors   int           `json:"errors"`
	Warnings int           `json:"warnings"`
	Unread   []seen.Unread `json:"unread,omitempty"`
}

// NewDoctor returns the document.
func NewDoctor(checks []Check, unread []seen.Unread) Doctor {
	d := Doctor{header: headerOf("Doctor"), Checks: checks, Unread: unread}
	for _, c := range checks {
		switch c.Result {
		case CheckError:
			d.Errors++
		case CheckWarning:
			d.Warnings++
		}
	}
	return d
}

// Print implements Document.
func (d Doctor) Print(p *Printer) {
	group := ""
	for _, c := range d.Checks {
		if c.Group != group {
			p.Line("%s", c.Group)
			group = c.Group
		}
		p.Line("  %-8s %s [%s]", c.Result, c.Message, c.ID)
		for _, do := range c.Do {
			p.Line("           do:  %s", do)
		}
		if c.See != "" {
			p.Line("           see: %s", c.See)
		}
	}
	p.Line("Result: %s, %s", count(d.Errors, "error"), count(d.Warnings, "warning"))
	p.unread(d.Unread)
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// Names implements Document.
func (d Doctor) Names() (names []string) {
	for _, c := range d.Checks {
		if c.Result == CheckError || c.Result == CheckWarning {
			names = append(names, "check/"+c.ID)
		}
	}
	return names
}
