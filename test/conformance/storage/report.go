package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/onsi/ginkgo/v2/types"
)

// notOurs are the reasons to skip a test that say it tests something else than this driver has.
func notOurs() []string { return []string{"Skipping CSIInlineVolume test for expansion"} }

// report is what became of each test that was chosen, and of the suite's own set-up.
type report struct {
	specs types.SpecReports
}

// readReport reads a report in Ginkgo's JSON format. Tests that were not chosen are not in it.
func readReport(path string) (report, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return report{}, err
	}
	var suites []types.Report
	if err := json.Unmarshal(content, &suites); err != nil {
		return report{}, fmt.Errorf("read %s: %w", path, err)
	}
	var r report
	for _, suite := range suites {
		for _, spec := range suite.SpecReports {
			chosen := spec.State != types.SpecStateSkipped || spec.Failure.Message != ""
			if spec.LeafNodeType == types.NodeTypeIt && chosen || spec.Failed() {
				r.specs = append(r.specs, spec)
			}
		}
	}
	slices.SortFunc(r.specs, func(a, b types.SpecReport) int { return strings.Compare(a.FullText(), b.FullText()) })
	return r, nil
}

// show prints a line for each test and a sum. The error says that a test failed or was skipped for no known reason, or
// that none passed.
func (r report) show(w io.Writer) error {
	var passed, failed, skipped, unknown int
	for _, spec := range r.specs {
		outcome, reason := spec.State.String(), ""
		switch spec.State {
		case types.SpecStatePassed:
			passed++
		case types.SpecStateSkipped:
			skipped++
			reason = spec.Failure.Message
			if !slices.Contains(notOurs(), reason) {
				unknown++
			}
		default:
			failed++
			reason = spec.Failure.Message
		}
		fmt.Fprintf(w, "  %-8s %s\n", outcome, strings.TrimSpace(spec.FullText()))
		if reason != "" {
			fmt.Fprintf(w, "           %s\n", strings.ReplaceAll(reason, "\n", "\n           "))
		}
	}
	fmt.Fprintf(w, "\n  %d passed, %d failed, %d skipped\n", passed, failed, skipped)
	switch {
	case failed > 0:
		return fmt.Errorf("%d tests failed", failed)
	case unknown > 0:
		return fmt.Errorf("%d tests were skipped for a reason that is not known to be good", unknown)
	case passed == 0:
		return errors.New("no test passed")
	}
	return nil
}
