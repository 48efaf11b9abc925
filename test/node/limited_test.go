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

// limiting runs a test on every node, with a plugin that limits volumes in the node's way: by project quotas where the file
// system has them, else in memory. Afterwards nothing is left of the volumes.
func limiting(t *testing.T, test func(t *testing.T, p *nodes.Plugin, inMemory bool)) {
	suite.OnEveryNode(t, func(t *testing.T, p *nodes.Plugin) {
		before := p.Target.LimitedProjects(t)
		p.Stop(t, syscall.SIGTERM)
		p.Flags = []string{"--" + contract.FlagLimitFallback + "=" + string(contract.FallbackMemory)}
		p.Start(t)
		test(t, p, !p.Target.HasQuotas(t))
		poll.Until(t, "nothing is left of the volumes", time.Minute, func() error {
			left, err := filepath.Glob(filepath.Join(p.Target.Root(), nodes.KubeletRoot, contract.PluginsDir, p.Driver, "volumes/*"))
			if err != nil {
				return err
			}
			mounted := strings.Contains(nodes.Read(t, p.Target.Root(), "proc/1/mountinfo"), " imagecsi-memory ")
			projects := len(p.Target.LimitedProjects(t)) - len(before)
			if mounts := p.Mounts(t); len(left)+len(mounts)+projects > 0 || mounted {
				return fmt.Errorf("left: %q, mounts %q, %d project quotas, a file system in memory: %v", left, mounts, projects, mounted)
			}
			return nil
		})
		wantMetrics(t, p, "imagecsi_volumes_in_memory 0")
	})
}

// wantWay wants so many limited volumes to be kept in the node's way, and the log to tell which one that is.
func wantWay(t *testing.T, p *nodes.Plugin, inMemory bool, limited int) {
	t.Helper()
	if inMemory {
		wantMetrics(t, p, fmt.Sprintf("imagecsi_volumes_in_memory %d", limited))
		if !strings.Contains(p.Said(), "keeping a volume in memory") {
			t.Errorf("the log does not tell: %s", p.Said())
		}
		return
	}
	wantMetrics(t, p, "imagecsi_volumes_in_memory 0")
	if projects := p.Target.LimitedProjects(t); len(projects) != limited {
		t.Errorf("project quotas for %d volumes: %d", limited, projects)
	}
	if !strings.Contains(p.Said(), "limited a volume by a project quota") {
		t.Errorf("the log does not tell: %s", p.Said())
	}
}

func TestALimitedVolumeIsFullAtItsLimitAndItsNeighboursAreNot(t *testing.T) {
	limiting(t, func(t *testing.T, p *nodes.Plugin, inMemory bool) {
		free := nodes.Volume{ID: "free", Image: nodes.Numbered(2), Inline: true}
		full, freePath := p.MustPublish(t, sizeLimited("full")), p.MustPublish(t, free)
		wantWay(t, p, inMemory, 1)
		wantMetrics(t, p, `imagecsi_volumes{access="ReadWrite"} 2`)
		other := p.MustPublish(t, sizeLimited("other"))
		wantWay(t, p, inMemory, 2)

		wantLimit(t, full)
		wantFull(t, p, "full")
		wantRoom(t, freePath)
		if err := os.WriteFile(filepath.Join(other, "data"), make([]byte, 4<<20), 0o644); err != nil {
			t.Errorf("4 MiB in another volume of 8: %v", err)
		}
		if bytes, _ := usage(t, p, "other"); bytes.GetTotal() != 8<<20 || bytes.GetUsed() < 4<<20 || bytes.GetUsed() > 5<<20 {
			t.Errorf("statistics of another volume: %v", bytes)
		}
		if err := os.Remove(filepath.Join(full, "big")); err != nil {
			t.Errorf("removing a file of a full volume: %v", err)
		}
		if err := os.WriteFile(filepath.Join(full, "data"), make([]byte, 4<<20), 0o644); err != nil {
			t.Errorf("4 MiB in a volume of 8 that was full: %v", err)
		}

		p.Unpublish(t, "full")
		again := p.MustPublish(t, sizeLimited("full"))
		if _, err := os.Stat(filepath.Join(again, "data")); !os.IsNotExist(err) {
			t.Errorf("a new volume shows old data (%v)", err)
		}
		for _, id := range []string{"full", "free", "other"} {
			p.Unpublish(t, id)
		}
	})
}

// wantFull fills a volume of 8 MiB in small pieces, since a file system may want room for much more than it is asked to
// write, and wants statistics that tell.
func wantFull(t *testing.T, p *nodes.Plugin, id string) {
	t.Helper()
	const piece, pieces = 64 << 10, 8 << 20 / (64 << 10)
	path := filepath.Join(p.Target.Root(), p.Path(id))
	var err error
	for n := 0; n <= pieces && err == nil; n++ {
		err = os.WriteFile(filepath.Join(path, fmt.Sprintf("piece-%d", n)), make([]byte, piece), 0o644)
	}
	if !errors.Is(err, syscall.EDQUOT) && !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("%d pieces more in a full volume: %v", pieces, err)
	}
	bytes, inodes := usage(t, p, id)
	if bytes.GetTotal() != 8<<20 || bytes.GetUsed() < 7<<20 || bytes.GetUsed()+bytes.GetAvailable() > 8<<20 || inodes.GetTotal() <= 0 {
		t.Errorf("statistics of a full volume: %v, %v", bytes, inodes)
	}
}

func TestALimitedVolumeOutlivesThePlugin(t *testing.T) {
	limiting(t, func(t *testing.T, p *nodes.Plugin, inMemory bool) {
		v := sizeLimited("outlives")
		path := p.MustPublish(t, v)
		change(t, path)
		p.Stop(t, syscall.SIGKILL)
		p.Start(t)
		for range 2 {
			p.MustPublish(t, v)
			wantChanged(t, path)
		}
		if got := mountsAt(t, p.Target, p.Path(v.ID)); len(got) != 1 {
			t.Errorf("at the target there are %q", got)
		}
		if inMemory {
			wantMetrics(t, p, "imagecsi_volumes_in_memory 1")
		}
		wantLimit(t, path)
		if said := health(t, p, v.ID); said != "" {
			t.Errorf("health: %s", said)
		}
		p.Unpublish(t, v.ID)
	})
}

// What is in memory does not outlive the node, which package faults looks at.
func TestALimitedVolumeOnADiskOutlivesTheNode(t *testing.T) {
	limiting(t, func(t *testing.T, p *nodes.Plugin, inMemory bool) {
		if inMemory {
			t.Skip("the file system has no project quotas, so no limited volume is on a disk")
		}
		v := sizeLimited("outlives")
		change(t, p.MustPublish(t, v))
		p.Target.Reboot(t)
		_ = p.Wait(t)
		p.Start(t)
		path := p.MustPublish(t, v)
		wantChanged(t, path)
		wantLimit(t, path)
		wantFull(t, p, v.ID)
		p.Unpublish(t, v.ID)
	})
}

// What lies deep is moved up before it is removed, and the project of a volume is not that of the directory above.
func TestADeepLimitedVolumeGoesBelowADirectoryThatIsLimitedToo(t *testing.T) {
	limiting(t, func(t *testing.T, p *nodes.Plugin, inMemory bool) {
		if inMemory {
			t.Skip("the file system has no project quotas")
		}
		p.Target.SetProject(t, filepath.Join(nodes.KubeletRoot, contract.PluginsDir, p.Driver, "volumes"), 7)
		v := sizeLimited("deep")
		path := p.MustPublish(t, v)
		if err := os.MkdirAll(filepath.Join(path, strings.Repeat("d/", 200)), 0o755); err != nil {
			t.Fatal(err)
		}
		p.Unpublish(t, v.ID)
		wantData(t, p, 0)
	})
}

// change writes to a file of the image, which is copied up, and removes another one.
func change(t *testing.T, path string) {
	t.Helper()
	file, err := os.OpenFile(filepath.Join(path, "top"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, err = file.WriteString("mine\n")
	// Synced, for a node may lose power next; closed, or the volume stays busy.
	if err := errors.Join(err, file.Sync(), file.Close(), os.Remove(filepath.Join(path, "layers/0"))); err != nil {
		t.Error(err)
	}
}

func wantChanged(t *testing.T, path string) {
	t.Helper()
	if got := nodes.Read(t, path, "top"); got != "1\nmine\n" {
		t.Errorf("/top holds %q", got)
	}
	if _, err := os.Stat(filepath.Join(path, "layers/0")); !os.IsNotExist(err) {
		t.Errorf("a deleted file is back (%v)", err)
	}
}
