package olm

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"k8s.io/apimachinery/pkg/util/yaml"
)

const (
	root   = "../../.."
	bundle = root + "/bundle"
)

// inTemplate returns the text of config/catalog/template.yaml, the bundle's image there, and its version.
func inTemplate(t *testing.T) (text, image, version string) {
	t.Helper()
	text = read(t, root+"/config/catalog/template.yaml")
	found := regexp.MustCompile(`(?m)^  - image: (\S+:v(\S+))$`).FindStringSubmatch(text)
	if found == nil {
		t.Fatalf("the catalog's template names no bundle:\n%s", text)
	}
	return text, found[1], found[2]
}

// built builds a program that go.mod pins.
func built(t *testing.T, pkg string) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), filepath.Base(pkg))
	run(t, ".", "go", "build", "-tags=containers_image_openpgp", "-ldflags=-s -w", "-o", program, pkg)
	return program
}

func run(t *testing.T, dir, name string, args ...string) string {
	t.Helper()
	command := exec.CommandContext(t.Context(), name, args...)
	command.Dir = dir
	command.Env = append(os.Environ(), "CGO_ENABLED=0")
	out, err := command.Output()
	if err != nil {
		var failed *exec.ExitError
		if errors.As(err, &failed) {
			t.Fatalf("%s %q: %v: %s%s", name, args, err, out, failed.Stderr)
		}
		t.Fatalf("%s %q: %v", name, args, err)
	}
	return string(out)
}

// The scorecard's tests read the bundle in /bundle of the image that they are in, so the program runs in a root of its own.
func TestScorecard(t *testing.T) {
	image := t.TempDir()
	if err := os.CopyFS(filepath.Join(image, "bundle"), os.DirFS(bundle)); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(image, "tmp"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Link(built(t, "github.com/operator-framework/operator-sdk/images/scorecard-test"), filepath.Join(image, "scorecard-test")); err != nil {
		t.Fatal(err)
	}
	tests := scorecardTests(t)
	if len(tests) != 6 {
		t.Errorf("the bundle's scorecard has %d tests", len(tests))
	}
	for _, test := range tests {
		t.Run(test, func(t *testing.T) {
			var status struct {
				Results []struct {
					Name, State         string
					Errors, Suggestions []string
				}
			}
			if err := json.Unmarshal([]byte(inRoot(t, image, "/scorecard-test", test)), &status); err != nil {
				t.Fatal(err)
			}
			if len(status.Results) != 1 {
				t.Fatalf("%d results: %+v", len(status.Results), status)
			}
			if result := status.Results[0]; result.State != "pass" || len(result.Errors) > 0 {
				t.Errorf("%+v", result)
			}
		})
	}
}

// scorecardTests are those that the bundle asks for.
func scorecardTests(t *testing.T) (tests []string) {
	t.Helper()
	text, err := os.ReadFile(bundle + "/tests/scorecard/config.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var config struct {
		Stages []struct {
			Tests []struct{ Entrypoint []string }
		}
	}
	if err := yaml.Unmarshal(text, &config); err != nil {
		t.Fatal(err)
	}
	for _, stage := range config.Stages {
		for _, test := range stage.Tests {
			tests = append(tests, test.Entrypoint[1])
		}
	}
	return tests
}

// inRoot runs a static program with another root. Who is not root is root of a user namespace for it.
func inRoot(t *testing.T, dir, name string, args ...string) string {
	t.Helper()
	command := exec.CommandContext(t.Context(), name, args...)
	command.Dir = "/"
	command.SysProcAttr = &syscall.SysProcAttr{Chroot: dir}
	if uid := os.Getuid(); uid != 0 {
		command.SysProcAttr.Cloneflags = syscall.CLONE_NEWUSER
		command.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{HostID: uid, Size: 1}}
	}
	out, err := command.Output()
	if err != nil {
		t.Fatalf("%s %q in %s: %v", name, args, dir, err)
	}
	return string(out)
}

// catalog makes a catalog of a template and the directories of its bundles.
func catalog(t *testing.T, text string, bundles map[string]string) string {
	t.Helper()
	dir, template := filepath.Join(t.TempDir(), "catalog"), filepath.Join(t.TempDir(), "template.yaml")
	if err := os.WriteFile(template, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	args := []string{"run", ".", "-catalog", dir, "-template", template}
	for image, from := range bundles {
		from, err := filepath.Abs(from)
		if err != nil {
			t.Fatal(err)
		}
		args = append(args, "-bundle", image+"="+from)
	}
	run(t, "../bundle", "go", args...)
	return dir
}

func TestTheCatalogIsWhatOPMRendersAndValid(t *testing.T) {
	opm := built(t, "github.com/operator-framework/operator-registry/cmd/opm")
	text, imageName, version := inTemplate(t)
	made := catalog(t, text, map[string]string{imageName: bundle})
	run(t, ".", opm, "validate", made)

	ours := blobs(t, read(t, filepath.Join(made, "image-csi-operator", "catalog.yaml")))
	theirs := blobs(t, run(t, ".", opm, "render", "--migrate-level=bundle-object-to-csv-metadata", "--alpha-image-ref-template="+imageName, "-o", "yaml", bundle))
	if len(theirs) != 1 || len(ours) != 3 {
		t.Fatalf("the catalog has %d blobs, opm renders %d of the bundle", len(ours), len(theirs))
	}
	if got, want := ours["olm.bundle"], theirs["olm.bundle"]; got != want {
		t.Errorf("the bundle in the catalog is not what opm renders:\n%s\n%s", got, want)
	}
	if !strings.Contains(ours["olm.channel"], `"entries":[`+entry(version, "")+`]`) {
		t.Errorf("the channel is %s", ours["olm.channel"])
	}
}

// entry is one of a channel.
func entry(version, replaces string) string {
	if replaces != "" {
		replaces = `"replaces":"image-csi-operator.v` + replaces + `",`
	}
	return `{"name":"image-csi-operator.v` + version + `",` + replaces + `"skipRange":"\u003c` + version + `"}`
}

func read(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// blobs are a catalog's, as JSON, by their schemas.
func blobs(t *testing.T, text string) map[string]string {
	t.Helper()
	all := map[string]string{}
	for documents := yaml.NewYAMLOrJSONDecoder(strings.NewReader(text), 4096); ; {
		var blob map[string]any
		err := documents.Decode(&blob)
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		if blob == nil {
			continue
		}
		json, err := json.Marshal(blob)
		if err != nil {
			t.Fatal(err)
		}
		all[blob["schema"].(string)] = string(json)
	}
}

// A template that lists releases makes a channel in which each replaces the one before, and skips what is older.
func TestACatalogOfTwoReleasesUpgrades(t *testing.T) {
	text, imageName, version := inTemplate(t)
	const newerVersion = "0.99.0"
	newer := t.TempDir()
	if err := os.CopyFS(newer, os.DirFS(bundle)); err != nil {
		t.Fatal(err)
	}
	csv := filepath.Join(newer, "manifests", "image-csi-operator.clusterserviceversion.yaml")
	if err := os.WriteFile(csv, []byte(strings.ReplaceAll(read(t, csv), version, newerVersion)), 0o644); err != nil {
		t.Fatal(err)
	}
	newerName := strings.ReplaceAll(imageName, version, newerVersion)
	made := catalog(t, text+"  - image: "+newerName+"\n", map[string]string{imageName: bundle, newerName: newer})
	channel := blobs(t, read(t, filepath.Join(made, "image-csi-operator", "catalog.yaml")))["olm.channel"]
	want := `"entries":[` + entry(version, "") + "," + entry(newerVersion, version) + "]"
	if !strings.Contains(channel, want) || !strings.Contains(channel, `"name":"candidate-v0"`) {
		t.Errorf("the channel is %s, want %s", channel, want)
	}
}
