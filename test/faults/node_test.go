package faults

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/image-csi/image-csi-operator/internal/contract"
	"github.com/image-csi/image-csi-operator/test/internal/nodes"
	"github.com/image-csi/image-csi-operator/test/internal/poll"
)

func TestANodeRebootsUnderItsVolumes(t *testing.T) {
	onEveryRuntime(t, func(t *testing.T, p *nodes.Plugin) {
		gone := victim{Volume: nodes.Volume{ID: "gone", Image: nodes.Numbered(2), Inline: true}, written: true}
		written.publishAndWrite(t, p)
		gone.publishAndWrite(t, p)
		p.MustPublish(t, neighbour)
		p.Target.Reboot(t)
		_ = p.Wait(t)
		for _, v := range []string{gone.ID, neighbour.ID} {
			if err := os.RemoveAll(filepath.Join(p.Target.Root(), nodes.KubeletRoot, "pods", "pod-"+v)); err != nil {
				t.Fatal(err)
			}
		}
		p.Start(t)
		written.publishAndRead(t, p)
		wantNothing(t, p)
	})
}

func TestAVolumeInMemoryIsBackOnItsImageWithoutItsDataWhenItsNodeHasRebooted(t *testing.T) {
	onEveryRuntime(t, func(t *testing.T, p *nodes.Plugin) {
		if p.Target.HasQuotas(t) {
			t.Skip("the file system can limit volumes, so none is kept in memory")
		}
		limitAnywhere(p)
		p.Stop(t, syscall.SIGTERM)
		p.Start(t)
		limited.publishAndWrite(t, p)
		p.Target.Reboot(t)
		_ = p.Wait(t)
		p.Start(t)
		for range 2 {
			path := p.MustPublish(t, limited.Volume)
			wantContent(t, p, path)
			if _, err := os.Stat(filepath.Join(path, "data")); !os.IsNotExist(err) {
				t.Errorf("what was in memory is there after a reboot (%v)", err)
			}
			if !canWrite(path) {
				t.Error("it is read-only")
			}
		}
		if err := os.WriteFile(filepath.Join(p.Target.Root(), p.Path(limited.ID), "big"), make([]byte, 16<<20), 0o600); !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("16 MiB in a volume of 8: %v", err)
		}
		if got := p.Metric(t, "imagecsi_volumes_in_memory"); got != 1 {
			t.Errorf("the metric says %v", got)
		}
		p.Unpublish(t, limited.ID)
		wantNothing(t, p)
	})
}

// wantNothing waits until nothing is left of a driver's volumes, in as many runs of the plugin as it takes.
func wantNothing(t *testing.T, p *nodes.Plugin) {
	t.Helper()
	poll.Until(t, "nothing is left of the volumes", time.Minute, func() error {
		p.Stop(t, syscall.SIGTERM)
		left, err := filepath.Glob(filepath.Join(p.Target.Root(), nodes.KubeletRoot, contract.PluginsDir, p.Driver, "volumes/*"))
		if err == nil && len(left)+len(p.Mounts(t))+len(p.Target.Pins(t, p.Driver)) > 0 {
			p.Start(t)
			err = os.ErrExist
		}
		return err
	})
	for _, mount := range mounts(t, p.Target) {
		if strings.Contains(mount, p.Driver) {
			t.Errorf("left: %s", mount)
		}
	}
}
