package node

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/image-csi/image-csi-operator/internal/contract"
	"github.com/image-csi/image-csi-operator/test/internal/nodes"
)

// fullDisk is a small disk, and how it gets full.
type fullDisk struct {
	options string
	fill    func(t *testing.T, dir string)
}

// fullDisks are full in the two ways in which a disk can be.
var fullDisks = map[string]fullDisk{
	"no block is free": {"size=64k", func(t *testing.T, dir string) {
		t.Helper()
		err := os.WriteFile(filepath.Join(dir, "fill"), make([]byte, 1<<20), 0o600)
		if !errors.Is(err, syscall.ENOSPC) {
			t.Fatalf("1 MiB on a disk of 64 KiB: %v", err)
		}
	}},
	"no inode is free": {"nr_inodes=40", func(t *testing.T, dir string) {
		t.Helper()
		err := os.Mkdir(filepath.Join(dir, "fill"), 0o700)
		for i := 0; err == nil && i < 40; i++ {
			err = os.WriteFile(filepath.Join(dir, "fill", fmt.Sprint(i)), nil, 0o600)
		}
		if !errors.Is(err, syscall.ENOSPC) {
			t.Fatalf("40 files on a disk for 40: %v", err)
		}
	}},
}

// onEveryFullDisk runs a test on every node with a plugin of its own, whose disk is full. The node has the image already: on
// CRI-O, which may have credentials of its own for a pod's namespace, no pull begins that cannot be recorded.
func onEveryFullDisk(t *testing.T, test func(t *testing.T, p *nodes.Plugin, makeRoom func())) {
	for what, full := range fullDisks {
		t.Run(what, func(t *testing.T) {
			for _, target := range suite.Targets(t) {
				t.Run(target.Name, func(t *testing.T) {
					t.Parallel()
					p, dir := startOnSmallDisk(t, target, full.options)
					p.MustPublish(t, readOnly())
					p.Unpublish(t, onFullDisk.ID)
					full.fill(t, dir)
					test(t, p, func() {
						if err := os.RemoveAll(filepath.Join(dir, "fill")); err != nil {
							t.Fatal(err)
						}
					})
				})
			}
		})
	}
}

func TestAFullDiskEndsWritableVolumesOnlyAndUntilThereIsRoom(t *testing.T) {
	onEveryFullDisk(t, func(t *testing.T, p *nodes.Plugin, makeRoom func()) {
		testFullDisk(t, p)
		makeRoom()
		p.MustPublish(t, onFullDisk)
		p.Unpublish(t, onFullDisk.ID)
	})
}

// The pods on a node whose disk is full can end only while the plugin runs.
func TestAPluginStartsOnAFullDisk(t *testing.T) {
	onEveryFullDisk(t, func(t *testing.T, p *nodes.Plugin, _ func()) {
		p.MustPublish(t, readOnly())
		p.Stop(t, syscall.SIGKILL) // which leaves its sockets to the next one
		p.Start(t)
		p.Unpublish(t, onFullDisk.ID)
		p.Register(t)
		testFullDisk(t, p)
	})
}

// onFullDisk is a volume for which there is no room.
var onFullDisk = nodes.Volume{ID: "full", Image: nodes.Numbered(2), Inline: true}

// readOnly is the same image where it needs none.
func readOnly() nodes.Volume {
	v := onFullDisk
	v.ReadOnly = true
	return v
}

// startOnSmallDisk starts a plugin whose directory is a file system of its own.
func startOnSmallDisk(t *testing.T, target *nodes.Target, options string) (p *nodes.Plugin, dir string) {
	t.Helper()
	driver := nodes.DriverName()
	inNode := filepath.Join(nodes.KubeletRoot, contract.PluginsDir, driver)
	dir = filepath.Join(target.Root(), inNode)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	target.Run(t, "mount", "-t", "tmpfs", "-o", options, "tmpfs", inNode)
	t.Cleanup(func() { target.Run(t, "umount", inNode) })
	p = nodes.Start(t, target, driver)
	p.Register(t)
	return p, dir
}

func testFullDisk(t *testing.T, p *nodes.Plugin) {
	t.Helper()
	for range 4 { // as often as an own fault would end readiness
		err := publishWithin(t, p, onFullDisk, quick)
		if status.Code(err) != codes.ResourceExhausted || !strings.Contains(err.Error(), "is full; make room there") {
			t.Fatalf("a writable volume: %v", err)
		}
	}
	wantNothingOf(t, p, onFullDisk.ID, 0)
	// Whose credentials open a private image cannot be recorded, so it must not come to the node.
	err := publishWithin(t, p, nodes.Volume{
		ID: "full", Image: private(suite.Registry(), "alice", "full"), Inline: true, ReadOnly: true, Secrets: secretFor(suite.Registry(), "alice"),
	}, quick)
	if status.Code(err) != codes.ResourceExhausted || p.Target.Holds(t, private(suite.Registry(), "alice", "full")) {
		t.Errorf("a private image: %v", err)
	}
	if got := nodes.Read(t, p.MustPublish(t, readOnly()), "top"); got != "1\n" {
		t.Errorf("/top holds %q", got)
	}
	p.Unpublish(t, onFullDisk.ID)
	p.Alive(t)
	if err := p.Ready(t); err != nil {
		t.Errorf("readiness: %v", err)
	}
}

// pullsInto are the directories into which a runtime writes what it pulls.
var pullsInto = map[string]map[string]string{
	contract.RuntimeContainerd: {
		"downloads": "/var/lib/containerd/io.containerd.content.v1.content",
		"layers":    "/var/lib/containerd/io.containerd.snapshotter.v1.overlayfs/snapshots",
	},
	contract.RuntimeCRIO: {
		"downloads": "/var/tmp",
		"layers":    "/var/lib/containers/storage/overlay",
	},
}

func TestAFullDiskOfTheRuntimeIsToldAndOverWhenThereIsRoom(t *testing.T) {
	suite.OnEveryNode(t, func(t *testing.T, p *nodes.Plugin) {
		if p.Target.Runtime == contract.RuntimeCRIO {
			// CRI-O makes this mount private, so that the plugin would not see what is mounted in it later.
			layers := pullsInto[contract.RuntimeCRIO]["layers"]
			p.Stop(t, syscall.SIGTERM)
			p.Target.Run(t, "mount", "--make-shared", layers)
			t.Cleanup(func() { p.Target.Run(t, "mount", "--make-private", layers) })
			p.Start(t)
		}
		p.Register(t)
		p.MustPublish(t, onFullDisk) // so that what a runtime makes once has been made
		p.Unpublish(t, onFullDisk.ID)
		for what, dir := range pullsInto[p.Target.Runtime] {
			t.Run(what, func(t *testing.T) {
				name := fmt.Sprintf("full/%s/%s:1", what, p.Target.Name)
				suite.Push(t, name, unique(t))
				v := nodes.Volume{ID: "unpulled", Image: suite.Registry() + "/" + name, Inline: true, ReadOnly: true}
				p.Target.Run(t, "mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", dir)
				t.Cleanup(func() { p.Target.Run(t, "umount", dir) })
				p.Target.Run(t, "mkdir", "-p", filepath.Join(dir, "ingest")) // which containerd makes once
				err := publishToItsEnd(t, p, v)
				t.Log(err)
				if status.Code(err) != codes.ResourceExhausted || !strings.Contains(err.Error(), "this node has no space left for image "+v.Image) {
					t.Errorf("got %v", err)
				}
				wantNothingOf(t, p, v.ID, 0)
				if err := p.Ready(t); err != nil {
					t.Errorf("readiness: %v", err)
				}
				p.Target.Run(t, "mount", "-o", "remount,size=64m", dir)
				if err := publishToItsEnd(t, p, v); err != nil {
					t.Fatalf("once there is room: %v", err)
				}
				if got := nodes.Read(t, p.Target.Root(), p.Path(v.ID), "data"); len(got) != 1<<20 {
					t.Errorf("%d bytes of data", len(got))
				}
				p.Unpublish(t, v.ID)
				p.Stop(t, syscall.SIGTERM) // which unpins the image
				p.Target.RemoveImage(t, v.Image)
				p.Start(t)
				p.Register(t)
			})
		}
	})
}
