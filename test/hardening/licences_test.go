package hardening

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/licensecheck"
)

// gatherer is the module of the must-gather image's shell, whose program is released beside those of the checkout's own.
const gatherer = "cmd/must-gather"

// linked returns the directories from which the programs have code, with those above them in the module, by the module's path. The standard
// library is "std".
func linked(t *testing.T) map[string][]string {
	t.Helper()
	listed := run(t, root, "go", "list", "-deps", "-json=Dir,Module", "-tags=grpcnotrace", "./cmd/...")
	listed = append(listed, run(t, filepath.Join(root, gatherer), "go", "list", "-deps", "-json=Dir,Module", ".")...)
	goroot, err := exec.CommandContext(t.Context(), "go", "env", "GOROOT").Output()
	if err != nil {
		t.Fatal(err)
	}
	// The checkout's own terms are those of its modules.
	out := map[string][]string{"std": {strings.TrimSpace(string(goroot))}, "github.com/image-csi/image-csi-operator/" + gatherer: {root}}
	for decoder := json.NewDecoder(bytes.NewReader(listed)); ; {
		var p struct {
			Dir    string
			Module *struct{ Path, Dir string }
		}
		if err := decoder.Decode(&p); errors.Is(err, io.EOF) {
			return out
		} else if err != nil {
			t.Fatal(err)
		}
		if p.Module == nil {
			continue
		}
		for dir := p.Dir; !slices.Contains(out[p.Module.Path], dir); dir = filepath.Dir(dir) {
			out[p.Module.Path] = append(out[p.Module.Path], dir)
			if dir == p.Module.Dir {
				break
			}
		}
	}
}

// licencesOf returns the licences of which a directory has files, in SPDX's names. A file of which less than three quarters is the text of a
// known licence is "unknown"; the rest is names and years.
func licencesOf(dir string) (licences []string, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	name := regexp.MustCompile(`(?i)^(licen[cs]e|copying|unlicense)`)
	for _, entry := range entries {
		if entry.IsDir() || !name.MatchString(entry.Name()) || filepath.Ext(entry.Name()) == ".go" {
			continue
		}
		text, err := os.ReadFile(filepath.Join(dir, entry.Name()))
		if err != nil {
			return nil, err
		}
		coverage := licensecheck.Scan(text)
		if coverage.Percent < 75 {
			licences = append(licences, "unknown")
		}
		for _, match := range coverage.Match {
			if !match.IsURL {
				licences = append(licences, match.ID)
			}
		}
	}
	slices.Sort(licences)
	return slices.Compact(licences), nil
}

// permitted are licences under which a module may be a part of the programs as it is: their notice is all that they ask for.
func permitted() []string {
	return []string{"Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "ISC", "MIT"}
}

// Every module in the programs has a licence, and one of the permitted; testdata/licences.yaml has the others.
func TestLicences(t *testing.T) {
	var subjects []string
	found := findings{}
	for module, dirs := range linked(t) {
		var licences []string
		for _, dir := range dirs {
			own, err := licencesOf(dir)
			if err != nil {
				t.Fatalf("%s: %v", module, err)
			}
			licences = append(licences, own...)
		}
		if len(licences) == 0 {
			licences = []string{"none"}
		}
		subjects = append(subjects, module)
		for _, licence := range licences {
			if !slices.Contains(permitted(), licence) {
				found.add(licence, module)
			}
		}
	}
	if len(subjects) < 50 {
		t.Fatalf("%d modules: %v", len(subjects), subjects)
	}
	hold(t, "licences.yaml", subjects, found)
}

func TestALicenceThatIsNotPermittedOrNotKnownIsSeen(t *testing.T) {
	for text, want := range map[string]string{
		"": "", "You may use this on Sundays, if you tell nobody how it works, and never in a fleet of more than three nodes.": "unknown",
		"This program is free software: you can redistribute it and/or modify it under the terms of the GNU General Public License as published " +
			"by the Free Software Foundation, either version 3 of the License, or (at your option) any later version.": "GPL-3.0-or-later",
	} {
		dir := t.TempDir()
		if text != "" {
			if err := os.WriteFile(filepath.Join(dir, "LICENSE.txt"), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		got, err := licencesOf(dir)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%q has licences %q, want %q", text, got, want)
		}
	}
}
