package hardening

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// programs builds what the image has and kubectl imagecsi, as they are released, but for the names of their functions, which the scanner needs.
func programs(t *testing.T) []string {
	t.Helper()
	dir := t.TempDir()
	run(t, root, "go", "build", "-tags=grpcnotrace", "-ldflags=-w", "-o", dir+"/", "./cmd/...")
	run(t, filepath.Join(root, gatherer), "go", "build", "-ldflags=-w", "-o", dir+"/", ".")
	built, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(built) != 5 {
		t.Fatalf("programs %v: %v", built, err)
	}
	return built
}

func run(t *testing.T, dir, name string, arguments ...string) []byte {
	t.Helper()
	command := exec.CommandContext(t.Context(), name, arguments...)
	command.Dir = dir
	out, err := command.Output()
	if err != nil {
		var exit *exec.ExitError
		errors.As(err, &exit)
		t.Fatalf("%v: %v: %s%s", command, err, out, exit.Stderr)
	}
	return out
}

// database is the one that GOVULNDB names, or else the pinned one.
func database(t *testing.T) string {
	t.Helper()
	if named := os.Getenv("GOVULNDB"); named != "" {
		if err := hasEntries(named); err != nil {
			t.Fatalf("GOVULNDB: %v", err)
		}
		return named
	}
	var pinned struct{ Dir, Version string }
	out := run(t, filepath.Join(root, "hack/tools/govulncheck"), "go", "mod", "download", "-json", "golang.org/x/vulndb")
	if err := json.Unmarshal(out, &pinned); err != nil || pinned.Dir == "" {
		t.Fatalf("%s: %v", out, err)
	}
	t.Log("the database is golang.org/x/vulndb", pinned.Version)
	name := "file://" + filepath.Join(pinned.Dir, "data", "osv")
	if err := hasEntries(name); err != nil {
		t.Fatal(err)
	}
	return name
}

// hasEntries returns an error for a database on this machine that holds nothing: govulncheck finds nothing with it, and does not complain.
// It has a file for each vulnerability, in itself or in a directory beside an index.
func hasEntries(database string) error {
	dir, local := strings.CutPrefix(database, "file://")
	if !local {
		return nil
	}
	for _, pattern := range []string{"GO-*.json", "ID/GO-*.json"} {
		if found, err := filepath.Glob(filepath.Join(dir, pattern)); err != nil || len(found) > 0 {
			return err
		}
	}
	return fmt.Errorf("%s holds no vulnerability, so a scan with it proves nothing", database)
}

func TestADatabaseThatHoldsNothingIsRefused(t *testing.T) {
	if err := hasEntries("file://testdata/vulndb"); err != nil {
		t.Error(err)
	}
	for _, dir := range []string{t.TempDir(), filepath.Join(t.TempDir(), "none")} {
		if hasEntries("file://"+dir) == nil {
			t.Errorf("no error for %s", dir)
		}
	}
}

// scan returns the vulnerabilities of a database of which programs have a vulnerable function: those of modules, and those of the standard
// library. A subject is the name of a program.
func scan(t *testing.T, database string, programs []string) (modules, library findings) {
	t.Helper()
	pinned, err := filepath.Abs(filepath.Join(root, "hack/tools/govulncheck/go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	modules, library = findings{}, findings{}
	for _, program := range programs {
		out := run(t, "", "go", "tool", "-modfile="+pinned, "govulncheck", "-db="+database, "-mode=binary", "-format=json", program)
		scanned := false
		for decoder := json.NewDecoder(bytes.NewReader(out)); ; {
			var said struct {
				SBOM    *struct{} `json:"SBOM"`
				Finding *struct {
					OSV   string `json:"osv"`
					Trace []struct{ Module, Version, Function string }
				} `json:"finding"`
			}
			if err := decoder.Decode(&said); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatal(err)
			}
			scanned = scanned || said.SBOM != nil
			if said.Finding == nil || len(said.Finding.Trace) == 0 || said.Finding.Trace[0].Function == "" {
				continue
			}
			at, into := said.Finding.Trace[0], modules
			if at.Module == "stdlib" {
				into = library
			}
			into.add(said.Finding.OSV+" "+at.Module+"@"+at.Version, filepath.Base(program))
		}
		if !scanned {
			t.Fatalf("govulncheck has not looked into %s: %s", program, out)
		}
	}
	return modules, library
}

// govulncheck with the pinned database, or with GOVULNDB: no program has a vulnerable function of a module. Those of Go's own library are
// the toolchain's, not this repository's, and are told, not judged. To build and scan takes ten seconds of processor time.
func TestVulnerabilities(t *testing.T) {
	built := programs(t)
	var subjects []string
	for _, program := range built {
		subjects = append(subjects, filepath.Base(program))
	}
	modules, library := scan(t, database(t), built)
	t.Run("modules", func(t *testing.T) { hold(t, "vulnerabilities.yaml", subjects, modules) })
	t.Run("standard library", func(t *testing.T) {
		if len(library) > 0 {
			t.Skipf("NOT PASSED: programs that this machine builds have vulnerable functions of its Go. Build releases with a newer one.\n%s",
				strings.Join(slices.Sorted(maps.Keys(library)), "\n"))
		}
	})
	t.Run("made up", func(t *testing.T) { testMadeUp(t, built[:1]) })
}

// testMadeUp scans a program with the database of testdata, where of four vulnerabilities one is in it, one in Go's own library, one fixed
// and one in nothing.
func testMadeUp(t *testing.T, built []string) {
	made, err := filepath.Abs("testdata/vulndb")
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("GOVULNDB", "file://"+made)
	modules, library := scan(t, database(t), built)
	for what, found := range map[string]findings{"GO-0000-0001 github.com/spf13/cobra@": modules, "GO-0000-0004 stdlib@": library} {
		names := slices.Collect(maps.Keys(found))
		if len(names) != 1 || !strings.HasPrefix(names[0], what) {
			t.Errorf("found %v, want %s alone", found, what)
		}
	}
	if len(differences(nil, modules, nil)) == 0 {
		t.Error("what is found is no failure")
	}
}
