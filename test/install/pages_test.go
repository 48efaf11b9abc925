package install

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/image-csi/image-csi-operator/docs/blocks"
)

// onNodes is the comment before a block that needs a pod that runs, which a simulated node does not have.
const onNodes = "on real nodes"

// fromRegistry has commands take the chart from the cluster's registry, which has no TLS.
func (p *plane) fromRegistry(script string) string {
	return regexp.MustCompile(`oci://registry\.example(\S+)`).ReplaceAllString(script, "oci://"+p.registry+"/image-csi$1 --plain-http")
}

// TestEveryWayIn makes a release and goes every way into a cluster with it. It takes three minutes on an idle machine, and some more to
// build Helm the first time.
func TestEveryWayIn(t *testing.T) {
	p := start(t)
	t.Run("as docs/install says", func(t *testing.T) { followPages(t, p) })
	t.Run("by Helm in other ways", func(t *testing.T) { tryHelm(t, p) })
}

// TestEveryWayInOnNodes follows the pages on a real node, where pods mount images. It takes four minutes.
func TestEveryWayInOnNodes(t *testing.T) {
	p := onNode(t, "install")
	p.pushShell(t)
	followPages(t, p)
}

// followPages runs the commands of every page in docs/install from top to bottom, but for those that need OLM (TestOLM), the legacy
// driver, or pods that run where the node is simulated.
func followPages(t *testing.T, p *plane) {
	pages, err := filepath.Glob("../../docs/install/*.md")
	if err != nil {
		t.Fatal(err)
	}
	run := 0
	for _, page := range pages {
		name := filepath.Base(page)
		if name == "README.md" || name == "olm.md" || name == "migrate.md" {
			continue
		}
		if !t.Run(name, func(t *testing.T) { follow(t, p, page) }) {
			t.FailNow()
		}
		p.leavesNothing(t)
		run++
	}
	if run != 3 {
		t.Errorf("%d pages were followed", run)
	}
}

// canRun reports whether the plane has the nodes that a block needs.
func (p *plane) canRun(block blocks.Block) bool {
	simulated := p.manager != ""
	return block.Note != onNodes || !simulated
}

func follow(t *testing.T, p *plane, page string) {
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	run := 0
	for _, block := range blocks.Of(string(text)) {
		if p.canRun(block) {
			p.must(t, p.fromRegistry(block.Text))
			run++
		}
	}
	if run < 5 {
		t.Errorf("%s has %d blocks of commands", page, run)
	}
}
