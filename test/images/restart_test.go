package images

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/image-csi/image-csi-operator/hack/cluster/image"
	"github.com/image-csi/image-csi-operator/test/internal/nodes"
)

func TestVolumesOutliveAKilledPluginHoweverLayersAreKept(t *testing.T) {
	suite.OnEveryNode(t, func(t *testing.T, p *nodes.Plugin) {
		volumes := []nodes.Volume{
			{ID: "read-only", Image: nodes.Numbered(10), Inline: true, ReadOnly: true},
			{ID: "one-layer", Image: nodes.Numbered(1), Inline: true, ReadOnly: true},
			{ID: "writable", Image: nodes.Numbered(10), Inline: true},
		}
		for _, v := range volumes {
			publish(t, p, v)
		}
		writable := filepath.Join(p.Target.Root(), p.Path("writable"))
		must(t, os.WriteFile(filepath.Join(writable, "layers/3"), []byte("mine"), 0o644))
		p.Stop(t, syscall.SIGKILL)
		checkNumbered(t, filepath.Join(p.Target.Root(), p.Path("read-only")), 10)
		p.Start(t)
		for _, v := range volumes {
			publish(t, p, v)
		}
		checkNumbered(t, filepath.Join(p.Target.Root(), p.Path("read-only")), 10)
		checkNumbered(t, filepath.Join(p.Target.Root(), p.Path("one-layer")), 1)
		wantContent(t, filepath.Join(writable, "layers/3"), "mine")
		if got := p.Mounts(t); len(got) != len(volumes) {
			t.Errorf("%d mounts, want %d: %q", len(got), len(volumes), got)
		}
		for _, v := range volumes {
			p.Unpublish(t, v.ID)
		}
		leavesNothing(t, p)
		noLoopDevice(t)
	})
}

// noLoopDevice wants no loop device for a layer.
func noLoopDevice(t *testing.T) {
	t.Helper()
	found, err := filepath.Glob("/sys/block/loop*/loop/backing_file")
	must(t, err)
	for _, name := range found {
		if file, err := os.ReadFile(name); err == nil && strings.Contains(string(file), ".erofs") {
			t.Errorf("a loop device shows %s", file)
		}
	}
}

func TestDataComesBackOnItsOwnImageAfterARebootAlthoughTheTagMoved(t *testing.T) {
	suite.OnEveryNode(t, func(t *testing.T, p *nodes.Plugin) {
		name := "test/moving-" + p.Target.Name + ":1"
		v := nodes.Volume{ID: "moving", Image: "registry.example/" + name, Inline: true, Attributes: map[string]string{"pullPolicy": "Always"}}
		push := func(content string) {
			made, err := image.Data([]image.File{{Path: "file", Content: []byte(content)}, {Path: "other", Content: []byte("1")}})
			must(t, err)
			suite.Push(t, name, made)
		}
		push("old")
		path := publish(t, p, v)
		must(t, os.WriteFile(filepath.Join(path, "other"), []byte("mine"), 0o644))

		push("new")
		p.Stop(t, syscall.SIGKILL)
		p.Target.Run(t, "umount", p.Path("moving"))
		p.Target.RemoveImage(t, v.Image)
		p.Start(t)
		path = publish(t, p, v)
		wantContent(t, filepath.Join(path, "file"), "old")
		wantContent(t, filepath.Join(path, "other"), "mine")
		p.Unpublish(t, "moving")

		path = publish(t, p, v)
		wantContent(t, filepath.Join(path, "file"), "new")
		wantContent(t, filepath.Join(path, "other"), "1")
		p.Unpublish(t, "moving")
		leavesNothing(t, p)
	})
}

func TestDataWhoseImageIsGoneIsNotShownOnAnother(t *testing.T) {
	suite.OnEveryNode(t, func(t *testing.T, p *nodes.Plugin) {
		if p.Target.Node.Runtime() == "crio" {
			return // The store's own tests remove pins there.
		}
		name := "test/lost-" + p.Target.Name + ":1"
		v := nodes.Volume{ID: "lost", Image: "registry.example/" + name, Inline: true}
		push := func(content string) {
			made, err := image.Data([]image.File{{Path: "file", Content: []byte(content)}})
			must(t, err)
			suite.Push(t, name, made)
		}
		push("old")
		publish(t, p, v)
		push("new")
		p.Stop(t, syscall.SIGKILL)
		p.Target.Run(t, "umount", p.Path("lost"))
		p.Target.RemoveImage(t, v.Image)
		p.Target.RemovePins(t, p.Driver)
		p.Target.CollectGarbage(t) // or the plugin pins the layers again at its start
		p.Start(t)
		_, err := p.Publish(t, v)
		if status.Code(err) != codes.FailedPrecondition || !strings.Contains(status.Convert(err).Message(), "delete the pod") {
			t.Errorf("got %v", err)
		}
		p.Unpublish(t, "lost")
		leavesNothing(t, p)
	})
}
