package programs

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/mod/modfile"
	"golang.org/x/mod/semver"

	"github.com/image-csi/image-csi-operator/hack/cluster/checkout"
)

// compiledTogether are the modules whose packages the first run of the demo and of the tests compiles. CRI-O is not one of them: it
// brings the libraries of another Kubernetes release, and cgo.
var compiledTogether = []string{
	".", "test", "cmd/must-gather", "hack/cluster", "hack/image", "hack/cluster/pins/kubernetes-1.37", "hack/cluster/pins/containerd",
}

// tools are the modules of the tools that CI compiles besides. What they require is no reason to build Kubernetes again.
var tools = []string{
	"hack/tools/generate", "hack/tools/dashboard", "hack/tools/bundle", "hack/tools/chart", "hack/tools/lint",
}

// TestLibrariesHaveOneVersion holds the modules to one version of each library. Go compiles a package again for each version of each
// library beneath it, so a patch release that only one module has costs the first run minutes.
func TestLibrariesHaveOneVersion(t *testing.T) {
	root, err := checkout.Root()
	if err != nil {
		t.Fatal(err)
	}
	newest := map[string]string{}
	holdToNewest(t, root, newest, compiledTogether)
	holdToNewest(t, root, newest, tools) // after the others, which are held to nothing that tools require
}

// holdToNewest holds modules to the newest version of each library that one of them requires, or that newest has; it adds theirs to that.
func holdToNewest(t *testing.T, root string, newest map[string]string, modules []string) {
	t.Helper()
	required := map[string]map[string]string{}
	for _, module := range modules {
		required[module] = requirements(t, filepath.Join(root, module, "go.mod"))
		for library, version := range required[module] {
			if semver.Compare(version, newest[library]) > 0 {
				newest[library] = version
			}
		}
	}
	for _, module := range modules {
		var behind []string
		for library, version := range required[module] {
			if version != newest[library] {
				behind = append(behind, library+"@"+newest[library])
			}
		}
		if slices.Sort(behind); len(behind) > 0 {
			t.Errorf("%s has an older version of what another module requires, so both are compiled; in that directory run\n\tgo get %s\n\tgo mod tidy",
				module, strings.Join(behind, " "))
		}
	}
}

// requirements are the libraries of a module with their versions. Those of the project itself have none that counts.
func requirements(t *testing.T, path string) map[string]string {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	file, err := modfile.Parse(path, content, nil)
	if err != nil {
		t.Fatal(err)
	}
	libraries := map[string]string{}
	for _, r := range file.Require {
		if !strings.HasPrefix(r.Mod.Path, "github.com/image-csi/") {
			libraries[r.Mod.Path] = r.Mod.Version
		}
	}
	return libraries
}
