package faults

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/image-csi/image-csi-operator/internal/contract"
	"github.com/image-csi/image-csi-operator/test/internal/imagelayers"
	"github.com/image-csi/image-csi-operator/test/internal/nodes"
)

// victim is the volume that is published or unpublished when the plugin is killed.
type victim struct {
	nodes.Volume
	written bool // there is data in it
}

const data = "written by the pod"

var (
	readOnly = victim{Volume: nodes.Volume{ID: "victim", Image: nodes.Numbered(2), Inline: true, ReadOnly: true}}
	writable = victim{Volume: nodes.Volume{ID: "victim", Image: nodes.Numbered(2), Inline: true}}
	written  = victim{Volume: writable.Volume, written: true}

	// limited has a project quota, or is kept in memory where the file system has none.
	limited = victim{Volume: nodes.Volume{ID: "victim", Image: nodes.Numbered(2), Inline: true,
		Attributes: map[string]string{contract.SizeLimitAttribute: "8Mi"}}}

	// mappable is bound, and its image's linked tree is made for it.
	mappable = victim{Volume: nodes.Volume{ID: "victim", Image: nodes.Numbered(2), Inline: true, ReadOnly: true,
		Attributes: map[string]string{contract.FormAttribute: string(contract.FormIDMappable)}}}

	// copied is a bind of a copy of its image, and copiedWritten one that the pod wrote to.
	copied = victim{Volume: nodes.Volume{ID: "victim", Image: nodes.Numbered(2), Inline: true,
		Attributes: map[string]string{contract.FormAttribute: string(contract.FormIDMappable)}}}
	copiedWritten = victim{Volume: copied.Volume, written: true}

	// neighbour is a volume of the same image to which nothing is done.
	neighbour = nodes.Volume{ID: "neighbour", Image: nodes.Numbered(2), Inline: true, ReadOnly: true}
)

func TestPublishOfTheFirstReadOnlyVolumeOfAnImageIsKilled(t *testing.T) {
	onEveryRuntime(t, readOnly.killPublish)
}

func TestPublishOfTheFirstWritableVolumeOfAnImageIsKilled(t *testing.T) {
	onEveryRuntime(t, writable.killPublish)
}

func TestPublishOfAFurtherReadOnlyVolumeOfAnImageIsKilled(t *testing.T) {
	onEveryRuntime(t, func(t *testing.T, p *nodes.Plugin) { withNeighbour(t, p, readOnly.killPublish) })
}

func TestPublishOfAFurtherWritableVolumeOfAnImageIsKilled(t *testing.T) {
	onEveryRuntime(t, func(t *testing.T, p *nodes.Plugin) { withNeighbour(t, p, writable.killPublish) })
}

func TestPublishOfAVolumeThatWasWrittenBeforeARebootIsKilled(t *testing.T) {
	onEveryRuntime(t, func(t *testing.T, p *nodes.Plugin) { withNeighbour(t, p, written.killPublish) })
}

func TestUnpublishOfAReadOnlyVolumeIsKilled(t *testing.T) {
	onEveryRuntime(t, readOnly.killUnpublish)
}

func TestUnpublishOfAWritableVolumeIsKilled(t *testing.T) {
	onEveryRuntime(t, func(t *testing.T, p *nodes.Plugin) { withNeighbour(t, p, written.killUnpublish) })
}

func TestPublishOfALimitedVolumeIsKilled(t *testing.T) {
	onEveryRuntime(t, func(t *testing.T, p *nodes.Plugin) {
		limitAnywhere(p)
		limited.killPublish(t, p)
	})
}

func TestUnpublishOfALimitedVolumeIsKilled(t *testing.T) {
	onEveryRuntime(t, func(t *testing.T, p *nodes.Plugin) {
		limitAnywhere(p)
		withNeighbour(t, p, limited.killUnpublish)
	})
}

// Each link, and each directory, is a step.
func TestTheMakingOfALinkedTreeIsKilled(t *testing.T) {
	onEveryRuntime(t, func(t *testing.T, p *nodes.Plugin) { withNeighbour(t, p, mappable.killPublish) })
}

func TestUnpublishOfTheLastVolumeOfALinkedTreeIsKilled(t *testing.T) {
	onEveryRuntime(t, mappable.killUnpublish)
}

// The file is written in few steps, and read by fewer.
func TestTheWritingOfAnEROFSFileIsKilled(t *testing.T) {
	onEveryRuntime(t, func(t *testing.T, p *nodes.Plugin) {
		withNeighbour(t, p, func(t *testing.T, p *nodes.Plugin) {
			imagelayers.WithoutLinks(t, p.Target.Root(), "/layers/0")
			mappable.killPublish(t, p)
		})
	})
}

// Each file of a copy is several steps.
func TestTheCopyingOfAnImageIsKilled(t *testing.T) {
	onEveryRuntime(t, func(t *testing.T, p *nodes.Plugin) { withNeighbour(t, p, copied.killPublish) })
}

func TestUnpublishOfACopyIsKilled(t *testing.T) {
	onEveryRuntime(t, func(t *testing.T, p *nodes.Plugin) { withNeighbour(t, p, copiedWritten.killUnpublish) })
}

// limitAnywhere has the plugin, when it is started again, keep limited volumes in memory where there are no quotas.
func limitAnywhere(p *nodes.Plugin) {
	p.Flags = append(p.Flags, "--"+contract.FlagLimitFallback+"="+string(contract.FallbackMemory))
}

// killPublish tries all that can follow a publish in which the plugin was killed.
func (v victim) killPublish(t *testing.T, p *nodes.Plugin) {
	before := func(t *testing.T, p *nodes.Plugin) {
		if v.written {
			v.publishAndWrite(t, p)
			v.loseMount(t, p)
		}
	}
	publish := func(t *testing.T, p *nodes.Plugin) error {
		_, err := p.Publish(t, v.Volume)
		return err
	}
	t.Run("then repeated", func(t *testing.T) {
		killAtEveryStep(t, p, history{before: before, killed: publish, after: v.publishAndRead})
	})
	t.Run("then its pod is deleted", func(t *testing.T) {
		killAtEveryStep(t, p, history{before: before, killed: publish, after: v.unpublish})
	})
	t.Run("then the node reboots without its pod", func(t *testing.T) {
		killAtEveryStep(t, p, history{before: before, killed: publish, dead: v.rebootWithoutPod})
	})
}

// killUnpublish tries all that can follow an unpublish in which the plugin was killed.
func (v victim) killUnpublish(t *testing.T, p *nodes.Plugin) {
	call := func(t *testing.T, p *nodes.Plugin) error { return p.TryUnpublish(t, v.ID) }
	t.Run("then repeated", func(t *testing.T) {
		killAtEveryStep(t, p, history{before: v.publishAndWrite, killed: call, after: v.unpublish})
	})
	t.Run("then the node reboots without its pod", func(t *testing.T) {
		killAtEveryStep(t, p, history{before: v.publishAndWrite, killed: call, dead: v.rebootWithoutPod})
	})
}

func withNeighbour(t *testing.T, p *nodes.Plugin, test func(*testing.T, *nodes.Plugin)) {
	path := p.MustPublish(t, neighbour)
	test(t, p)
	wantContent(t, p, path)
	p.Start(t)
	p.Unpublish(t, neighbour.ID)
}

func (v victim) publishAndWrite(t *testing.T, p *nodes.Plugin) {
	t.Helper()
	path := p.MustPublish(t, v.Volume)
	if v.ReadOnly {
		return
	}
	if err := os.WriteFile(filepath.Join(path, "data"), []byte(data), 0o600); err != nil {
		t.Fatal(err)
	}
}

// publishAndRead wants one mount with the image's content, and with what the pod wrote.
func (v victim) publishAndRead(t *testing.T, p *nodes.Plugin) {
	t.Helper()
	path := p.MustPublish(t, v.Volume)
	wantContent(t, p, path)
	if v.written && nodes.Read(t, path, "data") != data {
		t.Error("what the pod wrote is gone")
	}
	if v.ReadOnly == canWrite(path) {
		t.Errorf("read-only is %v, but it can be written to: %v", v.ReadOnly, v.ReadOnly)
	}
	if found := mountsAt(t, p.Target, p.Path(v.ID)); len(found) != 1 {
		t.Errorf("at the target there are %q", found)
	}
	p.Unpublish(t, v.ID)
}

func (v victim) unpublish(t *testing.T, p *nodes.Plugin) {
	t.Helper()
	p.Unpublish(t, v.ID)
}

// loseMount takes away what a reboot takes away.
func (v victim) loseMount(t *testing.T, p *nodes.Plugin) {
	t.Helper()
	p.Target.Run(t, "sh", "-c", fmt.Sprintf("while mountpoint -q %s; do umount %[1]s; done", p.Path(v.ID)))
}

// rebootWithoutPod is a reboot after which the kubelet does not know the pod: it was deleted meanwhile.
func (v victim) rebootWithoutPod(t *testing.T, p *nodes.Plugin) {
	t.Helper()
	v.loseMount(t, p)
	if err := os.RemoveAll(filepath.Join(p.Target.Root(), nodes.KubeletRoot, "pods", "pod-"+v.ID)); err != nil {
		t.Fatal(err)
	}
}

// wantContent wants the files of an image of two layers.
func wantContent(t *testing.T, p *nodes.Plugin, path string) {
	t.Helper()
	for name, want := range map[string]string{"top": "1\n", "layers/0": "layer 0\n", "layers/1": "layer 1\n"} {
		if got := nodes.Read(t, path, name); got != want {
			t.Errorf("%s holds %q, want %q", name, got, want)
		}
	}
}

func canWrite(path string) bool {
	return os.WriteFile(filepath.Join(path, "new"), nil, 0o600) == nil
}
