package node

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/image-csi/image-csi-operator/internal/contract"
	"github.com/image-csi/image-csi-operator/test/internal/nodes"
)

// CRI-O's storage library records in the run root what it has found out about the kernel's overlays, and CRI-O believes what it
// finds there. A node plugin may be the first to ask; it must not leave the answers of a process that may not try.
func TestWhatCRIOBelievesOfTheKernelIsNotWhatAConfinedProcessFound(t *testing.T) {
	suite.OnEveryNode(t, func(t *testing.T, p *nodes.Plugin) {
		if p.Target.Runtime != contract.RuntimeCRIO || p.Target.Mode != contract.ModeBidirectional { // In mode Nsenter CRI-O answers first: it starts the container.
			return
		}
		p.Stop(t, syscall.SIGTERM)
		dir := filepath.Join(p.Target.Root(), "run/containers/storage/overlay")
		before := recorded(t, dir)
		for name := range before {
			if err := os.Remove(filepath.Join(dir, name)); err != nil {
				t.Fatal(err)
			}
		}
		t.Cleanup(func() { // whatever was found: the node is others', too
			for name := range recorded(t, dir) {
				_ = os.Remove(filepath.Join(dir, name))
			}
			for name := range before {
				if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
					t.Error(err)
				}
			}
		})
		p.Start(t)
		p.Register(t)
		p.MustPublish(t, nodes.Volume{ID: "first", Image: nodes.Numbered(2), Inline: true, ReadOnly: true})
		p.Unpublish(t, "first")
		after := recorded(t, dir)
		if len(after) == 0 {
			t.Errorf("nothing is recorded in %s", dir)
		}
		for name := range after {
			if feature, no := strings.CutSuffix(name, "-false"); no && before[feature+"-true"] {
				t.Errorf("the node plugin has recorded that overlays cannot do what they can: %s", name)
			}
		}
		if before["idmapped-lower-dir-true"] && !after["idmapped-lower-dir-true"] {
			t.Errorf("that lower layers can be id-mapped was left to a process that may not try: %v", after)
		}
	})
}

// recorded returns the names of the library's records.
func recorded(t *testing.T, dir string) map[string]bool {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for _, entry := range entries {
		if entry.Type().IsRegular() && (strings.HasSuffix(entry.Name(), "-true") || strings.HasSuffix(entry.Name(), "-false")) {
			names[entry.Name()] = true
		}
	}
	return names
}
