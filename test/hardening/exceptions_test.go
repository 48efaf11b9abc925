package hardening

import (
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

// findings are what a scanner finds: the subjects by the name of the check that they do not pass.
type findings map[string]map[string]bool

func (f findings) add(check, subject string) {
	if f[check] == nil {
		f[check] = map[string]bool{}
	}
	f[check][subject] = true
}

// exception is a check that some subjects are right not to pass.
type exception struct {
	// Check is the scanner's name for it.
	Check string `json:"check"`
	// Of are the subjects, as patterns of path.Match.
	Of []string `json:"of"`
	// Why it is right, in a sentence.
	Why string `json:"why"`
}

// exceptions reads a list of testdata.
func exceptions(t *testing.T, file string) []exception {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", file))
	if err != nil {
		t.Fatal(err)
	}
	var out []exception
	if err := yaml.UnmarshalStrict(text, &out); err != nil {
		t.Fatalf("testdata/%s: %v", file, err)
	}
	return out
}

// differences compares what a scanner finds with the exceptions: what is found and not excepted, and exceptions for what is not found.
func differences(subjects []string, found findings, excepted []exception) []string {
	var out []string
	allowed := findings{}
	for _, e := range excepted {
		if len(strings.Fields(e.Why)) < 5 {
			out = append(out, e.Check+": the exception does not say why")
		}
		for _, pattern := range e.Of {
			matches := 0
			for _, subject := range subjects {
				if is, err := path.Match(pattern, subject); err != nil {
					out = append(out, e.Check+": "+pattern+": "+err.Error())
				} else if is {
					allowed.add(e.Check, subject)
					matches++
				}
			}
			if matches == 0 {
				out = append(out, e.Check+": an exception for "+pattern+", which is nothing")
			}
		}
	}
	add := func(what string, of, without findings) {
		for _, check := range slices.Sorted(maps.Keys(of)) {
			for _, subject := range slices.Sorted(maps.Keys(of[check])) {
				if !without[check][subject] {
					out = append(out, check+": "+subject+what)
				}
			}
		}
	}
	add(" does not pass, and no exception says why", found, allowed)
	add(" passes, so it needs no exception", allowed, found)
	return out
}

// hold fails the test for every difference between what a scanner finds and a list of testdata.
func hold(t *testing.T, file string, subjects []string, found findings) {
	t.Helper()
	if len(subjects) == 0 {
		t.Fatal("nothing was looked at")
	}
	for _, difference := range differences(subjects, found, exceptions(t, file)) {
		t.Errorf("testdata/%s: %s", file, difference)
	}
}

func TestAnExceptionIsForWhatIsFoundAndForNothingElse(t *testing.T) {
	const why = "It has to be so here."
	subjects, found := []string{"a/x", "a/y", "b/x"}, findings{"limits": {"a/x": true, "a/y": true}}
	for name, test := range map[string]struct {
		excepted []exception
		want     []string
	}{
		"all of it":        {[]exception{{"limits", []string{"a/*"}, why}}, nil},
		"one by one":       {[]exception{{"limits", []string{"a/x"}, why}, {"limits", []string{"a/y"}, why}}, nil},
		"none":             {nil, []string{"limits: a/x does not pass, and no exception says why", "limits: a/y does not pass, and no exception says why"}},
		"another check":    {[]exception{{"limits", []string{"a/*"}, why}, {"probes", []string{"a/x"}, why}}, []string{"probes: a/x passes, so it needs no exception"}},
		"more than found":  {[]exception{{"limits", []string{"*/*"}, why}}, []string{"limits: b/x passes, so it needs no exception"}},
		"what is no more":  {[]exception{{"limits", []string{"a/*", "c/*"}, why}}, []string{"limits: an exception for c/*, which is nothing"}},
		"without a reason": {[]exception{{"limits", []string{"a/*"}, ""}}, []string{"limits: the exception does not say why"}},
	} {
		if got := differences(subjects, found, test.excepted); !slices.Equal(got, test.want) {
			t.Errorf("%s: %q, want %q", name, got, test.want)
		}
	}
}
