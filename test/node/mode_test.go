package node

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/image-csi/image-csi-operator/internal/contract"
	"github.com/image-csi/image-csi-operator/test/internal/nodes"
)

// Modes change as a class's mountMode does, once after a proper end and once after a crash. Volumes go on, and either mode
// unmounts what the other mounted.
func TestVolumesOutliveAChangeOfTheMountMode(t *testing.T) {
	for _, target := range suite.Targets(t) {
		t.Run(target.Name, func(t *testing.T) {
			t.Parallel()
			p := nodes.Start(t, target.In(contract.ModeBidirectional), nodes.DriverName())
			first := publishInMode(t, p, "first")
			open, err := os.Open(filepath.Join(p.Target.Root(), p.Path("kept-ro-first"), "top"))
			if err != nil {
				t.Fatal(err)
			}
			defer open.Close()

			changeMode(t, p, contract.ModeNsenter, syscall.SIGTERM)
			first.goOn(t, p)
			p.Unpublish(t, "ro-first")
			p.Unpublish(t, "rw-first")
			second := publishInMode(t, p, "second")

			changeMode(t, p, contract.ModeBidirectional, syscall.SIGKILL)
			delete(first, "ro-first")
			delete(first, "rw-first")
			first.goOn(t, p)
			second.goOn(t, p)
			if content, err := io.ReadAll(open); err != nil || string(content) != "1\n" {
				t.Errorf("a file that was open all the time holds %q (%v)", content, err)
			}
			if err := open.Close(); err != nil {
				t.Error(err)
			}
			for _, volumes := range []volumesInMode{first, second} {
				for id := range volumes {
					p.Unpublish(t, id)
				}
			}
			if left := p.Mounts(t); len(left) != 0 {
				t.Errorf("mounts are left: %q", left)
			}
			wantData(t, p, 0)
			p.Stop(t, syscall.SIGTERM)
			if left := p.Target.Pins(t, p.Driver); len(left) != 0 {
				t.Errorf("pins are left: %q", left)
			}
		})
	}
}

// volumesInMode are volumes that were published in one mode, by ID.
type volumesInMode map[string]volumeInMode

type volumeInMode struct {
	nodes.Volume
	top string // what its file /top holds
}

// publishInMode publishes two read-only volumes and two that are written.
func publishInMode(t *testing.T, p *nodes.Plugin, when string) volumesInMode {
	t.Helper()
	out := volumesInMode{}
	for _, name := range []string{"ro", "kept-ro", "rw", "kept-rw"} {
		v := volumeInMode{nodes.Volume{ID: name + "-" + when, Image: nodes.Numbered(2), Inline: true, ReadOnly: strings.HasSuffix(name, "ro")}, "1\n"}
		path := p.MustPublish(t, v.Volume)
		if !v.ReadOnly {
			v.top = "written in " + v.ID
			if err := os.WriteFile(filepath.Join(path, "top"), []byte(v.top), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		out[v.ID] = v
	}
	return out
}

// changeMode ends the plugin and starts one of another mode, which has to serve.
func changeMode(t *testing.T, p *nodes.Plugin, mode string, end syscall.Signal) {
	t.Helper()
	p.Stop(t, end)
	p.Target = p.Target.In(mode)
	p.Start(t)
	p.Register(t)
	if missing := p.Ready(t); missing != nil {
		t.Fatalf("in mode %s the plugin is not ready: %v", mode, missing)
	}
}

// goOn wants every volume to hold what it held, to be healthy, and to be there already when the kubelet asks again.
func (volumes volumesInMode) goOn(t *testing.T, p *nodes.Plugin) {
	t.Helper()
	before := len(p.Mounts(t))
	for id, v := range volumes {
		path := p.MustPublish(t, v.Volume)
		if got := nodes.Read(t, path, "top"); got != v.top {
			t.Errorf("%s in mode %s: /top holds %q, want %q", id, p.Target.Mode, got, v.top)
		}
		if said := health(t, p, id); said != "" {
			t.Errorf("%s in mode %s: health %q", id, p.Target.Mode, said)
		}
		if v.ReadOnly {
			continue
		}
		if err := os.WriteFile(filepath.Join(path, "more"), []byte(id), 0o644); err != nil {
			t.Errorf("%s in mode %s: writing: %v", id, p.Target.Mode, err)
		}
	}
	if after := len(p.Mounts(t)); after != before {
		t.Errorf("in mode %s: %d mounts after publishing again, and %d before", p.Target.Mode, after, before)
	}
}
