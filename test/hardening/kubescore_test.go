package hardening

import (
	"bytes"
	"encoding/json"
	"errors"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

// scored is what kube-score says of an object.
type scored struct {
	Name string `json:"object_name"`
	Type struct {
		Kind string `json:"kind"`
	} `json:"type_meta"`
	Meta struct {
		Name string `json:"name"`
	} `json:"object_meta"`
	Checks []struct {
		Check struct {
			ID string `json:"id"`
		} `json:"check"`
		Grade    int  `json:"grade"`
		Skipped  bool `json:"skipped"`
		Comments []struct {
			Path    string `json:"path"`
			Summary string `json:"summary"`
		} `json:"comments"`
	} `json:"checks"`
}

// Grades of kube-score, the worst and the best.
const (
	critical = 1
	allOK    = 10
)

// score has the pinned kube-score judge objects, among them those that belong together, such as pods and their NetworkPolicies.
func score(t *testing.T, objects []*unstructured.Unstructured) []scored {
	t.Helper()
	var in bytes.Buffer
	for _, object := range objects {
		text, err := yaml.Marshal(object.Object)
		if err != nil {
			t.Fatal(err)
		}
		in.WriteString("---\n")
		in.Write(text)
	}
	pinned, err := filepath.Abs(filepath.Join(root, "hack/tools/kube-score/go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	command := exec.CommandContext(t.Context(), "go", "tool", "-modfile="+pinned, "kube-score", "score", "--kubernetes-version=v1.31", "--output-format=json", "-")
	command.Stdin = &in
	said, err := command.Output()
	var exit *exec.ExitError
	if err != nil && (!errors.As(err, &exit) || exit.ExitCode() != 1 || len(said) == 0) { // 1: it has found something
		t.Fatalf("%v: %v: %s", command, err, exit.Stderr)
	}
	var out []scored
	if err := json.Unmarshal(said, &out); err != nil {
		t.Fatalf("kube-score said %.200q: %v", said, err)
	}
	return out
}

// kube-score judges what is installed and what the operator makes of drivers, with the NetworkPolicies of config/network:
// testdata/kube-score.yaml says which of its checks they do not pass.
func TestKubeScore(t *testing.T) {
	objects := manifests(t, "default", "network", "mutation")
	plugins := nodePlugins(t)
	for _, name := range slices.Sorted(maps.Keys(plugins)) {
		for _, object := range plugins[name] {
			object.SetName(name)
			objects = append(objects, object)
		}
	}
	var subjects []string
	found, criticals := findings{}, map[string]int{}
	pods := 0
	for _, object := range score(t, objects) {
		subject := object.Meta.Name
		if object.Type.Kind != "DaemonSet" {
			subject = path.Join(object.Type.Kind, subject)
		} else {
			pods++
		}
		subjects = append(subjects, subject)
		for _, check := range object.Checks {
			if check.Skipped || check.Grade >= allOK {
				continue
			}
			if len(check.Comments) == 0 {
				found.add(check.Check.ID, subject)
			}
			for _, comment := range check.Comments {
				finding := check.Check.ID + ": " + comment.Summary
				if comment.Path != "" {
					finding += " (" + comment.Path + ")"
				}
				found.add(finding, subject)
			}
			if check.Grade == critical {
				criticals[subject] += len(check.Comments)
			}
		}
	}
	if pods != len(plugins) {
		t.Fatalf("kube-score judged %d DaemonSets of %d", pods, len(plugins))
	}
	hold(t, "kube-score.yaml", subjects, found)

	page, err := os.ReadFile(filepath.Join(root, "docs/security.md"))
	if err != nil {
		t.Fatal(err)
	}
	for row, subject := range map[string]string{
		"containerd; CRI-O in mode `Nsenter`": "containerd/Nsenter/minimal", "CRI-O in mode `Bidirectional`": "crio/Bidirectional/minimal",
	} {
		figure := regexp.MustCompile(`(?m)^\| this one, ` + regexp.QuoteMeta(row) + ` \|.*\| \*\*(\d+)\*\* \|$`).FindSubmatch(page)
		if figure == nil || string(figure[1]) != strconv.Itoa(criticals[subject]) {
			t.Errorf("docs/security.md has another figure of kube-score for %s than %d: %q", row, criticals[subject], figure)
		}
	}
}
