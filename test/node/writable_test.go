package node

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/image-csi/image-csi-operator/test/internal/nodes"
)

func TestTheWritableLayerIsInThePluginsOwnDirectory(t *testing.T) {
	suite.OnEveryNode(t, func(t *testing.T, p *nodes.Plugin) {
		path := p.MustPublish(t, nodes.Volume{ID: "layer", Image: nodes.Numbered(2), Inline: true})
		if err := os.WriteFile(filepath.Join(path, "mine"), []byte("mine"), 0o644); err != nil {
			t.Fatal(err)
		}
		volumes := filepath.Join(p.Target.Root(), nodes.KubeletRoot, "plugins", p.Driver, "volumes")
		found, err := filepath.Glob(filepath.Join(volumes, "*", "*", "mine"))
		if err != nil || len(found) != 1 {
			t.Fatalf("what the pod wrote is at %q below %s (%v), want it once", found, volumes, err)
		}
		if got := nodes.Read(t, found[0]); got != "mine" {
			t.Errorf("%s holds %q", found[0], got)
		}
		p.Unpublish(t, "layer")
	})
}

func TestAWritableVolumeOutlivesARestartOfTheRuntime(t *testing.T) {
	suite.OnEveryNode(t, func(t *testing.T, p *nodes.Plugin) {
		v := nodes.Volume{ID: "outlives", Image: nodes.Numbered(2), Inline: true}
		path := p.MustPublish(t, v)
		if err := os.WriteFile(filepath.Join(path, "top"), []byte("mine"), 0o644); err != nil {
			t.Fatal(err)
		}
		p.Target.RestartRuntime(t)
		p.MustPublish(t, v) // as the kubelet does now and then
		if got := nodes.Read(t, path, "top"); got != "mine" {
			t.Errorf("after the restart /top holds %q", got)
		}
		if err := os.WriteFile(filepath.Join(path, "new"), nil, 0o644); err != nil {
			t.Errorf("after the restart: %v", err)
		}
		p.Unpublish(t, v.ID)
	})
}
