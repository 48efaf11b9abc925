package docs_test

import (
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/image-csi/image-csi-operator/docs/blocks"
)

// treatment is what becomes of blocks of a page.
type treatment struct {
	// page from the repository's root, or a directory of pages with a slash at the end.
	page string
	// begins is how their first line begins; empty for all blocks of the page that no other row names.
	begins string
	// by is the test that runs them, whose package has the name of the page or its directory.
	by string
	// reason is why no test does.
	reason string
}

const (
	target  = "it is a target of this repository, which CI or a person runs as it stands"
	session = "it shows what a command prints; its like is held by the golden files of internal/cli/command"
	rescue  = "it is for a cluster in a state that no test makes"
	partial = "it is a part of a manifest; the sample with every field has it, and TestTheFullSampleHasEveryField wants that"
)

// treatments are of the pages for users. The first row that fits counts.
func treatments() []treatment {
	return []treatment{
		{page: "README.md", begins: "make demo", reason: target},
		{page: "README.md", begins: "make release", reason: "its registry is a placeholder; TestEveryWayIn makes a release in its own process, and installs install.yaml"},
		{page: "README.md", begins: "kubectl apply -f config/samples/pod_with", reason: "TestTroubles applies the sample and reads in its pod"},
		{page: "README.md", begins: "$ kubectl ", reason: "it is what make demo prints"},
		{page: "README.md", begins: "kubectl apply --server-side -k config/", by: "TestFirstLight"},
		{page: "README.md", begins: "volumes:", reason: "config/samples/pod_with_image_volume.yaml is the whole pod, which TestTroubles runs"},
		{page: "CONTRIBUTING.md", reason: target},
		{page: "docs/comparison.md", begins: "volumes:", reason: "it is Kubernetes' own volume, for comparison"},
		{page: "docs/releasing.md", reason: target},
		{page: "docs/install/README.md", reason: "TestEveryWayIn makes a release in its own process, with hack/image"},
		{page: "docs/install/olm.md", begins: "oc adm must-gather", reason: "oc is no module that can be built alone; TestMustGather makes what it makes, and copies by its commands"},
		{page: "docs/install/olm.md", by: "TestOLM"},
		{page: "docs/install/migrate.md", reason: "it needs a Helm release of the legacy driver; test/install makes one and hands it over"},
		{page: "docs/install/", by: "TestEveryWayIn"},
		{page: "docs/how-to/", by: "TestTroubles"},
		{page: "docs/sandboxes.md", begins: "containers:", reason: "it is a part of a pod; TestFirstLight runs such pods with a workspace"},
		{page: "docs/sandboxes.md", begins: "spec:", reason: "it is the pod that config/mutation makes; TestFirstLight wants it from the API server"},
		{page: "docs/sandboxes.md", begins: "oc adm", reason: "it takes OpenShift"},
		{page: "docs/sandboxes.md", by: "TestFirstLight"},
		{page: "docs/troubleshooting.md", begins: "kubectl describe", reason: "TestTroubles asks for what these print"},
		{page: "docs/troubleshooting.md", begins: "kubectl imagecsi", by: "TestTroubles"},
		{page: "docs/kubectl.md", begins: "$ ", reason: session},
		{page: "docs/kubectl.md", begins: "go build", by: "TestTroubles"},
		{page: "docs/kubectl.md", begins: "kubectl krew install", reason: "hack/image runs it with krew, on a release of a small program"},
		{page: "docs/kubectl.md", begins: "tar --extract", reason: "hack/image unpacks such an archive by krew"},
		{page: "docs/kubectl.md", begins: "kubectl -n image-csi-system create rolebinding inspectors", reason: "its group is a placeholder"},
		{page: "docs/node-plugin.md", begins: "kubelet ──", reason: "it is a picture"},
		{page: "docs/node-plugin.md", begins: "kubectl apply --server-side -k config/mutation", by: "TestFirstLight"},
		{page: "docs/node-plugin.md", begins: "kubectl -n image-csi-system port-forward", reason: "its names are placeholders"},
		{page: "docs/node-plugin.md", begins: "kubectl -n image-csi-system logs", reason: "its names are placeholders"},
		{page: "docs/node-plugin.md", begins: "spec:", reason: "docs/how-to/users-and-groups.md has the whole pod, which TestTroubles runs"},
		{page: "docs/operator.md", begins: "spec:", reason: partial},
		{page: "docs/operator.md", begins: "namespace: my-namespace", reason: "docs/install/kustomize.md has the whole, which TestEveryWayIn runs"},
		{page: "docs/operator.md", begins: "kubectl get imagecsidrivers", reason: "it is a list of what to look at, with placeholders"},
		{page: "docs/operator.md", begins: "kubectl delete imagecsidrivers --all", by: "TestFirstLight"},
		{page: "docs/operator.md", begins: "kubectl apply --server-side -k config/default", by: "TestFirstLight"},
		{page: "docs/operator.md", begins: "kubectl apply --server-side --force-conflicts -k config/default", by: "TestUpgrade"},
		{page: "docs/operator.md", begins: "kubectl patch imagecsidriver NAME --type merge -p '{\"spec\": {\"volumesInUse\"", by: "TestFirstLight"},
		{page: "docs/operator.md", begins: "kubectl patch imagecsidriver NAME --type merge -p '{\"metadata\"", reason: rescue},
		{page: "docs/operator.md", begins: "kubectl -n NAMESPACE patch operatorcondition", reason: "it needs the Operator Lifecycle Manager"},
		{page: "docs/operator.md", begins: "kubectl annotate --overwrite namespace", reason: "it needs a mirror of the operator's image"},
		{page: "docs/operator.md", begins: "kubectl -n NAMESPACE create role", reason: "its names are placeholders; controllers/provisioning tests the right"},
		{page: "docs/operator.md", begins: "kubectl patch imagecsidriver NAME --type merge -p '{\"spec\": {\"nodePlugin\": {\"seccompProfile\"", by: "TestFirstLight"},
		{page: "docs/operator.md", begins: "install -m 644 imagecsi-node-plugin", reason: "it is for a node with AppArmor; make test-kernels loads the profile"},
		{page: "docs/operator.md", begins: "kubectl create clusterrolebinding", reason: "it needs Prometheus"},
		{page: "docs/operator.md", begins: "kubectl -n image-csi-operator port-forward", reason: "it needs Prometheus"},
		{page: "docs/operator.md", begins: "kubectl -n image-csi-operator set env", reason: "it needs a collector of traces"},
		{page: "docs/security.md", begins: "make ", reason: target},
		{page: "docs/security.md", begins: "(kubectl kustomize", reason: "it needs a scanner's program; TestKubeScore has the same findings"},
		{page: "docs/security.md", begins: "kubectl", reason: "its names are placeholders"},
		{page: "docs/security.md", begins: "for t in /proc/", reason: "it is typed on a node; TestFirstLight reads the same files"},
	}
}

// fits reports whether the row is about a block.
func (r treatment) fits(page string, block blocks.Block) bool {
	isPage := r.page == page || strings.HasSuffix(r.page, "/") && strings.HasPrefix(page, r.page)
	return isPage && strings.HasPrefix(block.First(), r.begins)
}

// TestEveryBlockIsRunOrHasAReason finds the row of each block of commands and each manifest. A block that nothing runs has the reason in a
// row, or in a comment of its page: "not run: …". Pictures are no such block.
func TestEveryBlockIsRunOrHasAReason(t *testing.T) {
	rows := treatments()
	used := make([]bool, len(rows))
	found := 0
	for _, path := range pages(t) {
		name, err := filepath.Rel("..", path)
		if err != nil {
			t.Fatal(err)
		}
		if !isForUsers(name) {
			continue
		}
		for _, block := range blocks.Of(page(t, path)) {
			if block.Language == "mermaid" {
				continue
			}
			found++
			if !treated(rows, used, name, block) && block.Reason() == "" {
				t.Errorf("%s: no test runs the block that begins with %q; name the test, or the reason, in docs/blocks_test.go", name, block.First())
			}
		}
	}
	for i, row := range rows {
		if !used[i] {
			t.Errorf("no block of %s begins with %q any more", row.page, row.begins)
		}
	}
	if found < 100 {
		t.Errorf("there are %d blocks", found)
	}
}

// isForUsers reports whether people take commands from a page. Decisions and the pages beside code have theirs for those who read code.
func isForUsers(page string) bool {
	return !strings.Contains(page, "/") && page != "CHANGELOG.md" || strings.HasPrefix(page, "docs/") && !strings.HasPrefix(page, "docs/decisions/")
}

// treated reports whether a row is about the block, and notes which.
func treated(rows []treatment, used []bool, page string, block blocks.Block) bool {
	for i, row := range rows {
		if row.fits(page, block) {
			used[i] = true
			return true
		}
	}
	return false
}

// TestWhatRunsBlocksIsThere wants the tests of the rows to be there. One that runs a whole page, or directory, names it in its package.
func TestWhatRunsBlocksIsThere(t *testing.T) {
	sources := testSources(t)
	for _, row := range treatments() {
		if (row.by == "") == (row.reason == "") {
			t.Errorf("%s, %q: a row has either a test or a reason", row.page, row.begins)
		}
		if row.by != "" && !runs(sources, row) {
			t.Errorf("%s, %q: there is no %s, or it does not name the page", row.page, row.begins, row.by)
		}
	}
}

// runs reports whether a package has the row's test and, if it runs a whole page, names the page.
func runs(sources map[string]string, row treatment) bool {
	for _, text := range sources {
		if strings.Contains(text, "func "+row.by+"(t *testing.T)") && (row.begins != "" || strings.Contains(text, row.page)) {
			return true
		}
	}
	return false
}

// testSources returns the test files beneath test, a text for each package.
func testSources(t *testing.T) map[string]string {
	t.Helper()
	files, err := filepath.Glob("../test/*/*_test.go")
	if err != nil || len(files) == 0 {
		t.Fatalf("%d files: %v", len(files), err)
	}
	sources := map[string]string{}
	for _, file := range files {
		sources[filepath.Dir(file)] += page(t, file)
	}
	return sources
}

// TestEveryTestThatAReasonNamesIsThere reads the reasons.
func TestEveryTestThatAReasonNamesIsThere(t *testing.T) {
	all := ""
	for _, pattern := range []string{"*_test.go", "../test/*/*_test.go"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			all += page(t, file)
		}
	}
	for _, row := range treatments() {
		for _, name := range regexp.MustCompile(`\bTest[A-Z]\w+`).FindAllString(row.reason, -1) {
			if !strings.Contains(all, "func "+name+"(") {
				t.Errorf("%s, %q: there is no %s", row.page, row.begins, name)
			}
		}
	}
}
