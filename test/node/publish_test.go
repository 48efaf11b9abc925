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

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/image-csi/image-csi-operator/test/internal/nodes"
	"github.com/image-csi/image-csi-operator/test/internal/poll"
)

func TestImagesOfOneToAHundredLayersMountRight(t *testing.T) {
	suite.OnEveryNode(t, func(t *testing.T, p *nodes.Plugin) {
		for _, layers := range []int{1, 2, 10, 60, 100} {
			id := fmt.Sprintf("layers-%d", layers)
			path := p.MustPublish(t, nodes.Volume{ID: id, Image: nodes.Numbered(layers), Inline: true, ReadOnly: true})
			if got, want := nodes.Read(t, path, "top"), fmt.Sprintf("%d\n", layers-1); got != want {
				t.Errorf("%d layers: /top holds %q, want %q", layers, got, want)
			}
			files, err := os.ReadDir(filepath.Join(path, "layers"))
			if err != nil || len(files) != layers {
				t.Errorf("%d layers: %d files in /layers (%v)", layers, len(files), err)
			}
			for i := range layers {
				if got, want := nodes.Read(t, path, "layers", fmt.Sprint(i)), fmt.Sprintf("layer %d\n", i); got != want {
					t.Errorf("%d layers: layer %d holds %q", layers, i, got)
				}
			}
			entries, err := os.ReadDir(path)
			if err != nil || len(entries) != 2 {
				t.Errorf("%d layers: the root holds %v, want layers and top only (%v)", layers, entries, err)
			}
			p.Unpublish(t, id)
		}
	})
}

func TestReadOnlyVolumeRefusesWritesAndSharesItsFiles(t *testing.T) {
	suite.OnEveryNode(t, func(t *testing.T, p *nodes.Plugin) {
		var inodes []uint64
		for _, id := range []string{"ro-1", "ro-2"} {
			path := p.MustPublish(t, nodes.Volume{ID: id, Image: nodes.Numbered(2), Inline: true, ReadOnly: true})
			if err := os.WriteFile(filepath.Join(path, "new"), nil, 0o644); !errors.Is(err, syscall.EROFS) {
				t.Errorf("writing gives %v, want a read-only file system", err)
			}
			info, err := os.Stat(filepath.Join(path, "top"))
			if err != nil {
				t.Fatal(err)
			}
			inodes = append(inodes, info.Sys().(*syscall.Stat_t).Ino)
		}
		if inodes[0] != inodes[1] {
			t.Errorf("two volumes of one image show inodes %d and %d, want one", inodes[0], inodes[1])
		}
		p.Unpublish(t, "ro-1")
		p.Unpublish(t, "ro-2")
	})
}

func TestWritableVolumeKeepsItsDataUntilItIsUnpublished(t *testing.T) {
	suite.OnEveryNode(t, func(t *testing.T, p *nodes.Plugin) {
		v := nodes.Volume{ID: "rw", Image: nodes.Numbered(2), Inline: true}
		path := p.MustPublish(t, v)
		if err := os.WriteFile(filepath.Join(path, "top"), []byte("mine"), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Remove(filepath.Join(path, "layers/0")); err != nil {
			t.Fatal(err)
		}
		p.Stop(t, syscall.SIGKILL)
		p.Start(t)
		path = p.MustPublish(t, v)
		if got := nodes.Read(t, path, "top"); got != "mine" {
			t.Errorf("after a restart of the plugin /top holds %q", got)
		}
		if _, err := os.Stat(filepath.Join(path, "layers/0")); !os.IsNotExist(err) {
			t.Errorf("a deleted file is back (%v)", err)
		}
		if got := len(p.Mounts(t)); got != 1 {
			t.Errorf("%d mounts, want 1", got)
		}
		p.Unpublish(t, "rw")
		wantData(t, p, 0)
		path = p.MustPublish(t, v)
		if got := nodes.Read(t, path, "top"); got != "1\n" {
			t.Errorf("a new volume shows old data: %q", got)
		}
		p.Unpublish(t, "rw")
	})
}

func TestPublishAndUnpublishAreIdempotent(t *testing.T) {
	suite.OnEveryNode(t, func(t *testing.T, p *nodes.Plugin) {
		for _, readOnly := range []bool{true, false} {
			v := nodes.Volume{ID: "twice", Image: nodes.Numbered(10), Inline: true, ReadOnly: readOnly}
			p.MustPublish(t, v)
			p.MustPublish(t, v)
			if got := len(p.Mounts(t)); got != 1 {
				t.Errorf("%d mounts after publishing twice, want 1", got)
			}
			p.Unpublish(t, "twice")
			p.Unpublish(t, "twice")
			if got := p.Mounts(t); len(got) != 0 {
				t.Errorf("mounts are left: %q", got)
			}
		}
	})
}

func TestPersistentVolumesAreReadOnlyAndTakeTheImageFromTheirHandle(t *testing.T) {
	suite.OnEveryNode(t, func(t *testing.T, p *nodes.Plugin) {
		target := p.Path("pv")
		if err := os.MkdirAll(filepath.Dir(filepath.Join(p.Target.Root(), target)), 0o755); err != nil {
			t.Fatal(err)
		}
		request := nodes.Volume{ID: "pv", Inline: false}.Request(target)
		request.VolumeId = nodes.Numbered(2)
		if _, err := p.NodePublishVolume(t.Context(), request); err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(p.Target.Root(), target)
		if got := nodes.Read(t, path, "top"); got != "1\n" {
			t.Errorf("/top holds %q", got)
		}
		if err := os.WriteFile(filepath.Join(path, "new"), nil, 0o644); !errors.Is(err, syscall.EROFS) {
			t.Errorf("writing gives %v, want a read-only file system", err)
		}
		if _, err := p.NodeUnpublishVolume(t.Context(), &csi.NodeUnpublishVolumeRequest{VolumeId: nodes.Numbered(2), TargetPath: target}); err != nil {
			t.Fatal(err)
		}
	})
}

func TestBadRequestsGetOneClearSentence(t *testing.T) {
	suite.OnEveryNode(t, func(t *testing.T, p *nodes.Plugin) {
		for _, c := range []struct {
			name   string
			volume nodes.Volume
			code   codes.Code
			words  []string
		}{
			{"a missing image", nodes.Volume{ID: "bad", Image: "registry.example/no/such:1", Inline: true}, codes.NotFound, []string{"registry.example/no/such:1", "does not exist"}},
			{"a wrong reference", nodes.Volume{ID: "bad", Image: "Not/A:Reference:1", Inline: true}, codes.InvalidArgument, []string{"Not/A:Reference:1"}},
			{"no image at all", nodes.Volume{ID: "bad", Inline: true}, codes.InvalidArgument, []string{"image"}},
			{"a writable access mode", nodes.Volume{ID: "bad", Image: nodes.Numbered(1), AccessMode: csi.VolumeCapability_AccessMode_MULTI_NODE_MULTI_WRITER}, codes.InvalidArgument, []string{"AccessMode of PV can be only ReadOnlyMany or ReadOnlyOnce"}},
			{"an unknown pull policy", nodes.Volume{ID: "bad", Image: nodes.Numbered(1), Inline: true, Attributes: map[string]string{"pullPolicy": "Sometimes"}}, codes.InvalidArgument, []string{"Sometimes", "IfNotPresent"}},
			{"an absent image that must not be pulled", nodes.Volume{ID: "bad", Image: "registry.example/never/pulled:1", Inline: true, Attributes: map[string]string{"pullPolicy": "Never"}}, codes.NotFound, []string{"registry.example/never/pulled:1", "Never"}},
		} {
			_, err := p.Publish(t, c.volume)
			if status.Code(err) != c.code {
				t.Errorf("%s: %v, want code %s", c.name, err, c.code)
			}
			for _, word := range c.words {
				if !strings.Contains(fmt.Sprint(err), word) {
					t.Errorf("%s: %q does not say %q", c.name, err, word)
				}
			}
			if strings.Contains(fmt.Sprint(err), "\n") {
				t.Errorf("%s: %q is more than a sentence", c.name, err)
			}
		}
		if got := p.Mounts(t); len(got) != 0 {
			t.Errorf("mounts are left: %q", got)
		}
		p.MustPublish(t, nodes.Volume{ID: "good", Image: nodes.Numbered(1), Inline: true, ReadOnly: true})
		p.Unpublish(t, "good")
	})
}

func TestContentStaysWhenTheImageIsRemovedWhileMounted(t *testing.T) {
	suite.OnEveryNode(t, func(t *testing.T, p *nodes.Plugin) {
		path := p.MustPublish(t, nodes.Volume{ID: "kept", Image: nodes.Numbered(10), Inline: true, ReadOnly: true})
		p.Target.RemoveImage(t, nodes.Numbered(10))
		for i := range 10 {
			if got, want := nodes.Read(t, path, "layers", fmt.Sprint(i)), fmt.Sprintf("layer %d\n", i); got != want {
				t.Errorf("layer %d holds %q", i, got)
			}
		}
		p.Unpublish(t, "kept")
	})
}

func TestNothingIsLeftInTheRuntimeAfterAGracefulStop(t *testing.T) {
	suite.OnEveryNode(t, func(t *testing.T, p *nodes.Plugin) {
		for _, v := range []nodes.Volume{
			{ID: "used", Image: nodes.Numbered(2), Inline: true, ReadOnly: true},
			{ID: "done", Image: nodes.Numbered(10), Inline: true},
		} {
			p.MustPublish(t, v)
		}
		p.Unpublish(t, "done")
		p.Stop(t, syscall.SIGTERM)
		if got := p.Target.Pins(t, p.Driver); len(got) != 1 {
			t.Errorf("the runtime holds pins %q, want the one that a mount still uses", got)
		}
		p.Start(t)
		p.Unpublish(t, "used")
		p.Stop(t, syscall.SIGTERM)
		if got := p.Target.Pins(t, p.Driver); len(got) != 0 {
			t.Errorf("the runtime still holds pins %q", got)
		}
	})
}

func TestPluginRecoversWhenTheRuntimeRestarts(t *testing.T) {
	suite.OnEveryNode(t, func(t *testing.T, p *nodes.Plugin) {
		path := p.MustPublish(t, nodes.Volume{ID: "before", Image: nodes.Numbered(2), Inline: true, ReadOnly: true})
		p.Target.RestartRuntime(t)
		if got := nodes.Read(t, path, "top"); got != "1\n" {
			t.Errorf("after the restart /top holds %q", got)
		}
		poll.Until(t, "a publish after the restart", time.Minute, func() error {
			_, err := p.Publish(t, nodes.Volume{ID: "after", Image: nodes.Numbered(60), Inline: true, ReadOnly: true})
			return err
		})
		p.Unpublish(t, "before")
		p.Unpublish(t, "after")
	})
}

func TestAHundredAndTenVolumesAtOnce(t *testing.T) {
	suite.OnEveryNode(t, func(t *testing.T, p *nodes.Plugin) {
		const volumes = 110
		p.MustPublish(t, nodes.Volume{ID: "first", Image: nodes.Numbered(10), Inline: true, ReadOnly: true})
		failed := make(chan error, volumes)
		for i := range volumes {
			go func() {
				_, err := p.Publish(t, nodes.Volume{ID: fmt.Sprintf("many-%d", i), Image: nodes.Numbered(10), Inline: true, ReadOnly: i%2 == 0})
				failed <- err
			}()
		}
		for range volumes {
			if err := <-failed; err != nil {
				t.Error(err)
			}
		}
		if got := len(p.Mounts(t)); got != volumes+1 {
			t.Errorf("%d mounts, want %d", got, volumes+1)
		}
		for i := range volumes {
			p.Unpublish(t, fmt.Sprintf("many-%d", i))
		}
		p.Unpublish(t, "first")
		if got := p.Mounts(t); len(got) != 0 {
			t.Errorf("%d mounts are left", len(got))
		}
	})
}
