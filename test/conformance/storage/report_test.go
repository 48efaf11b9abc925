package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/onsi/ginkgo/v2/types"
)

func spec(name string, state types.SpecState, message string) types.SpecReport {
	return types.SpecReport{
		LeafNodeType: types.NodeTypeIt, LeafNodeText: name, State: state, Failure: types.Failure{Message: message},
	}
}

func TestTheReportTellsWhetherTheDriverConforms(t *testing.T) {
	passed := spec("works", types.SpecStatePassed, "")
	notChosen := spec("is another driver's", types.SpecStateSkipped, "")
	for name, c := range map[string]struct {
		specs []types.SpecReport
		says  string
		err   string
	}{
		"a pass":            {[]types.SpecReport{passed, notChosen}, "1 passed, 0 failed, 0 skipped", ""},
		"a known skip":      {[]types.SpecReport{passed, spec("grows", types.SpecStateSkipped, notOurs()[0])}, "expansion", ""},
		"an unknown skip":   {[]types.SpecReport{passed, spec("writes", types.SpecStateSkipped, "is read-only")}, "is read-only", "not known"},
		"a failure":         {[]types.SpecReport{passed, spec("reads", types.SpecStateFailed, "no such file")}, "no such file", "1 tests failed"},
		"a timeout":         {[]types.SpecReport{passed, spec("reads", types.SpecStateTimedout, "too slow")}, "too slow", "1 tests failed"},
		"nothing":           {[]types.SpecReport{notChosen}, "0 passed", "no test passed"},
		"a failed start-up": {[]types.SpecReport{passed, {LeafNodeType: types.NodeTypeBeforeSuite, State: types.SpecStateFailed, Failure: types.Failure{Message: "no cluster"}}}, "no cluster", "1 tests failed"},
	} {
		content, err := json.Marshal([]types.Report{{SpecReports: c.specs}})
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(t.TempDir(), "report.json")
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		r, err := readReport(path)
		if err != nil {
			t.Fatal(err)
		}
		var said strings.Builder
		err = r.show(&said)
		if (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
			t.Errorf("%s: error %v, want %q", name, err, c.err)
		}
		if !strings.Contains(said.String(), c.says) || strings.Contains(said.String(), "another driver's") {
			t.Errorf("%s: said %q", name, said.String())
		}
	}
}
