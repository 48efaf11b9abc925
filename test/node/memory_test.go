package node

import (
	"errors"
	"fmt"
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

// inMemory runs a test on every node whose file system cannot limit volumes, with a plugin that keeps limited ones in
// memory.
func inMemory(t *testing.T, test func(*testing.T, *nodes.Plugin)) {
	suite.OnEveryNode(t, func(t *testing.T, p *nodes.Plugin) {
		if p.Target.HasQuotas(t) {
			t.Skip("the file system can limit volumes, so none is kept in memory")
		}
		p.Stop(t, syscall.SIGTERM)
		p.Flags = []string{"--" + contract.FlagLimitFallback + "=" + contract.FallbackMemory}
		p.Start(t)
		test(t, p)
		poll.Until(t, "nothing is left of the volumes", time.Minute, func() error {
			left, err := filepath.Glob(filepath.Join(p.Target.Root(), nodes.KubeletRoot, contract.PluginsDir, p.Driver, "volumes/*"))
			mounted := strings.Contains(nodes.Read(t, p.Target.Root(), "proc/1/mountinfo"), " imagecsi-memory ")
			if mounts := p.Mounts(t); err != nil || len(left)+len(mounts) > 0 || mounted {
				return fmt.Errorf("left: %q, mounts %q, a file system in memory: %v (%w)", left, mounts, mounted, err)
			}
			return nil
		})
		wantMetrics(t, p, "imagecsi_volumes_in_memory 0")
	})
}

func TestAVolumeInMemoryIsFullAtItsLimitAndItsNeighboursAreNot(t *testing.T) {
	inMemory(t, func(t *testing.T, p *nodes.Plugin) {
		free := nodes.Volume{ID: "free", Image: nodes.Numbered(2), Inline: true}
		full, freePath := p.MustPublish(t, sizeLimited("full")), p.MustPublish(t, free)
		if !strings.Contains(p.Said(), "keeping a volume in memory") {
			t.Errorf("the log does not tell: %s", p.Said())
		}
		wantMetrics(t, p, "imagecsi_volumes_in_memory 1", `imagecsi_volumes{access="ReadWrite"} 2`)
		other := p.MustPublish(t, sizeLimited("other"))
		wantMetrics(t, p, "imagecsi_volumes_in_memory 2")

		wantLimit(t, full)
		if err := os.WriteFile(filepath.Join(full, "one-more"), []byte("x"), 0o644); !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("a byte more in a full volume: %v", err)
		}
		bytes, inodes := usage(t, p, "full")
		if bytes.GetTotal() != 8<<20 || bytes.GetUsed() < 7<<20 || bytes.GetAvailable() > 1<<20 || inodes.GetTotal() <= 0 {
			t.Errorf("statistics of a full volume: %v, %v", bytes, inodes)
		}
		wantRoom(t, freePath)
		if err := os.WriteFile(filepath.Join(other, "data"), make([]byte, 4<<20), 0o644); err != nil {
			t.Errorf("4 MiB in another volume of 8: %v", err)
		}
		if bytes, _ := usage(t, p, "other"); bytes.GetTotal() != 8<<20 || bytes.GetUsed() < 4<<20 || bytes.GetUsed() > 5<<20 {
			t.Errorf("statistics of another volume: %v", bytes)
		}

		p.Unpublish(t, "full")
		again := p.MustPublish(t, sizeLimited("full"))
		if _, err := os.Stat(filepath.Join(again, "big")); !os.IsNotExist(err) {
			t.Errorf("a new volume shows old data (%v)", err)
		}
		for _, id := range []string{"full", "free", "other"} {
			p.Unpublish(t, id)
		}
	})
}

func TestAVolumeInMemoryOutlivesThePlugin(t *testing.T) {
	inMemory(t, func(t *testing.T, p *nodes.Plugin) {
		v := sizeLimited("outlives")
		path := p.MustPublish(t, v)
		// The file of the image is copied up.
		file, err := os.OpenFile(filepath.Join(path, "top"), os.O_APPEND|os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := file.WriteString("mine\n"); err != nil {
			t.Error(err)
		}
		file.Close() // or the volume stays busy
		if err := os.Remove(filepath.Join(path, "layers/0")); err != nil {
			t.Error(err)
		}
		p.Stop(t, syscall.SIGKILL)
		p.Start(t)
		for range 2 {
			p.MustPublish(t, v)
			if got := nodes.Read(t, path, "top"); got != "1\nmine\n" {
				t.Errorf("after a restart of the plugin /top holds %q", got)
			}
			if _, err := os.Stat(filepath.Join(path, "layers/0")); !os.IsNotExist(err) {
				t.Errorf("a deleted file is back (%v)", err)
			}
		}
		if got := mountsAt(t, p.Target, p.Path(v.ID)); len(got) != 1 {
			t.Errorf("at the target there are %q", got)
		}
		wantMetrics(t, p, "imagecsi_volumes_in_memory 1")
		wantLimit(t, path)
		if said := health(t, p, v.ID); said != "" {
			t.Errorf("health: %s", said)
		}
		p.Unpublish(t, v.ID)
	})
}
