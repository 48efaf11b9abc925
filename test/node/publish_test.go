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

	"github.com/image-csi/image-csi-operator/test/internal/poll"
)

func TestImagesOfOneToAHundredLayersMountRight(t *testing.T) {
	onEveryRuntime(t, func(t *testing.T, p *plugin) {
		for _, layers := range []int{1, 2, 10, 60, 100} {
			id := fmt.Sprintf("layers-%d", layers)
			path := p.mustPublish(t, volume{id: id, image: numbered(layers), inline: true, readOnly: true})
			if got, want := read(t, path, "top"), fmt.Sprintf("%d\n", layers-1); got != want {
				t.Errorf("%d layers: /top holds %q, want %q", layers, got, want)
			}
			files, err := os.ReadDir(filepath.Join(path, "layers"))
			if err != nil || len(files) != layers {
				t.Errorf("%d layers: %d files in /layers (%v)", layers, len(files), err)
			}
			for i := range layers {
				if got, want := read(t, path, "layers", fmt.Sprint(i)), fmt.Sprintf("layer %d\n", i); got != want {
					t.Errorf("%d layers: layer %d holds %q", layers, i, got)
				}
			}
			entries, err := os.ReadDir(path)
			if err != nil || len(entries) != 2 {
				t.Errorf("%d layers: the root holds %v, want layers and top only (%v)", layers, entries, err)
			}
			p.unpublish(t, id)
		}
	})
}

func TestReadOnlyVolumeRefusesWritesAndSharesItsFiles(t *testing.T) {
	onEveryRuntime(t, func(t *testing.T, p *plugin) {
		var inodes []uint64
		for _, id := range []string{"ro-1", "ro-2"} {
			path := p.mustPublish(t, volume{id: id, image: numbered(2), inline: true, readOnly: true})
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
		p.unpublish(t, "ro-1")
		p.unpublish(t, "ro-2")
	})
}

func TestWritableVolumeKeepsItsDataUntilItIsUnpublished(t *testing.T) {
	onEveryRuntime(t, func(t *testing.T, p *plugin) {
		v := volume{id: "rw", image: numbered(2), inline: true}
		path := p.mustPublish(t, v)
		if err := os.WriteFile(filepath.Join(path, "top"), []byte("mine"), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Remove(filepath.Join(path, "layers/0")); err != nil {
			t.Fatal(err)
		}
		p.stop(t, syscall.SIGKILL)
		p.start(t)
		path = p.mustPublish(t, v)
		if got := read(t, path, "top"); got != "mine" {
			t.Errorf("after a restart of the plugin /top holds %q", got)
		}
		if _, err := os.Stat(filepath.Join(path, "layers/0")); !os.IsNotExist(err) {
			t.Errorf("a deleted file is back (%v)", err)
		}
		if got := len(p.mounts(t)); got != 1 {
			t.Errorf("%d mounts, want 1", got)
		}
		p.unpublish(t, "rw")
		left, err := filepath.Glob(filepath.Join(p.target.root(), kubeletRoot, "plugins", p.driver, "volumes", "*"))
		if err != nil || len(left) != 0 {
			t.Errorf("unpublish left %v (%v)", left, err)
		}
		path = p.mustPublish(t, v)
		if got := read(t, path, "top"); got != "1\n" {
			t.Errorf("a new volume shows old data: %q", got)
		}
		p.unpublish(t, "rw")
	})
}

func TestPublishAndUnpublishAreIdempotent(t *testing.T) {
	onEveryRuntime(t, func(t *testing.T, p *plugin) {
		for _, readOnly := range []bool{true, false} {
			v := volume{id: "twice", image: numbered(10), inline: true, readOnly: readOnly}
			p.mustPublish(t, v)
			p.mustPublish(t, v)
			if got := len(p.mounts(t)); got != 1 {
				t.Errorf("%d mounts after publishing twice, want 1", got)
			}
			p.unpublish(t, "twice")
			p.unpublish(t, "twice")
			if got := p.mounts(t); len(got) != 0 {
				t.Errorf("mounts are left: %q", got)
			}
		}
	})
}

func TestPersistentVolumesAreReadOnlyAndTakeTheImageFromTheirHandle(t *testing.T) {
	onEveryRuntime(t, func(t *testing.T, p *plugin) {
		target := p.path("pv")
		if err := os.MkdirAll(filepath.Dir(filepath.Join(p.target.root(), target)), 0o755); err != nil {
			t.Fatal(err)
		}
		request := volume{id: "pv", inline: false}.request(target)
		request.VolumeId = numbered(2)
		if _, err := p.NodePublishVolume(t.Context(), request); err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(p.target.root(), target)
		if got := read(t, path, "top"); got != "1\n" {
			t.Errorf("/top holds %q", got)
		}
		if err := os.WriteFile(filepath.Join(path, "new"), nil, 0o644); !errors.Is(err, syscall.EROFS) {
			t.Errorf("writing gives %v, want a read-only file system", err)
		}
		if _, err := p.NodeUnpublishVolume(t.Context(), &csi.NodeUnpublishVolumeRequest{VolumeId: numbered(2), TargetPath: target}); err != nil {
			t.Fatal(err)
		}
	})
}

func TestBadRequestsGetOneClearSentence(t *testing.T) {
	onEveryRuntime(t, func(t *testing.T, p *plugin) {
		for _, c := range []struct {
			name   string
			volume volume
			code   codes.Code
			words  []string
		}{
			{"a missing image", volume{id: "bad", image: "registry.example/no/such:1", inline: true}, codes.NotFound, []string{"registry.example/no/such:1", "does not exist"}},
			{"a wrong reference", volume{id: "bad", image: "Not/A:Reference:1", inline: true}, codes.InvalidArgument, []string{"Not/A:Reference:1"}},
			{"no image at all", volume{id: "bad", inline: true}, codes.InvalidArgument, []string{"image"}},
			{"a writable access mode", volume{id: "bad", image: numbered(1), accessMode: csi.VolumeCapability_AccessMode_MULTI_NODE_MULTI_WRITER}, codes.InvalidArgument, []string{"AccessMode of PV can be only ReadOnlyMany or ReadOnlyOnce"}},
			{"an unknown pull policy", volume{id: "bad", image: numbered(1), inline: true, attributes: map[string]string{"pullPolicy": "Sometimes"}}, codes.InvalidArgument, []string{"Sometimes", "IfNotPresent"}},
			{"an absent image that must not be pulled", volume{id: "bad", image: "registry.example/never/pulled:1", inline: true, attributes: map[string]string{"pullPolicy": "Never"}}, codes.NotFound, []string{"registry.example/never/pulled:1", "Never"}},
		} {
			_, err := p.publish(t, c.volume)
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
		if got := p.mounts(t); len(got) != 0 {
			t.Errorf("mounts are left: %q", got)
		}
		p.mustPublish(t, volume{id: "good", image: numbered(1), inline: true, readOnly: true})
		p.unpublish(t, "good")
	})
}

func TestContentStaysWhenTheImageIsRemovedWhileMounted(t *testing.T) {
	onEveryRuntime(t, func(t *testing.T, p *plugin) {
		path := p.mustPublish(t, volume{id: "kept", image: numbered(10), inline: true, readOnly: true})
		p.target.removeImage(t, numbered(10))
		for i := range 10 {
			if got, want := read(t, path, "layers", fmt.Sprint(i)), fmt.Sprintf("layer %d\n", i); got != want {
				t.Errorf("layer %d holds %q", i, got)
			}
		}
		p.unpublish(t, "kept")
	})
}

func TestNothingIsLeftInTheRuntimeAfterAGracefulStop(t *testing.T) {
	onEveryRuntime(t, func(t *testing.T, p *plugin) {
		for _, v := range []volume{
			{id: "used", image: numbered(2), inline: true, readOnly: true},
			{id: "done", image: numbered(10), inline: true},
		} {
			p.mustPublish(t, v)
		}
		p.unpublish(t, "done")
		p.stop(t, syscall.SIGTERM)
		if got := p.target.pins(t, p.driver); len(got) != 1 {
			t.Errorf("the runtime holds pins %q, want the one that a mount still uses", got)
		}
		p.start(t)
		p.unpublish(t, "used")
		p.stop(t, syscall.SIGTERM)
		if got := p.target.pins(t, p.driver); len(got) != 0 {
			t.Errorf("the runtime still holds pins %q", got)
		}
	})
}

func TestPluginRecoversWhenTheRuntimeRestarts(t *testing.T) {
	onEveryRuntime(t, func(t *testing.T, p *plugin) {
		path := p.mustPublish(t, volume{id: "before", image: numbered(2), inline: true, readOnly: true})
		p.target.restartRuntime(t)
		if got := read(t, path, "top"); got != "1\n" {
			t.Errorf("after the restart /top holds %q", got)
		}
		poll.Until(t, "a publish after the restart", time.Minute, func() error {
			_, err := p.publish(t, volume{id: "after", image: numbered(60), inline: true, readOnly: true})
			return err
		})
		p.unpublish(t, "before")
		p.unpublish(t, "after")
	})
}

func TestAHundredAndTenVolumesAtOnce(t *testing.T) {
	onEveryRuntime(t, func(t *testing.T, p *plugin) {
		const volumes = 110
		p.mustPublish(t, volume{id: "first", image: numbered(10), inline: true, readOnly: true})
		failed := make(chan error, volumes)
		for i := range volumes {
			go func() {
				_, err := p.publish(t, volume{id: fmt.Sprintf("many-%d", i), image: numbered(10), inline: true, readOnly: i%2 == 0})
				failed <- err
			}()
		}
		for range volumes {
			if err := <-failed; err != nil {
				t.Error(err)
			}
		}
		if got := len(p.mounts(t)); got != volumes+1 {
			t.Errorf("%d mounts, want %d", got, volumes+1)
		}
		for i := range volumes {
			p.unpublish(t, fmt.Sprintf("many-%d", i))
		}
		p.unpublish(t, "first")
		if got := p.mounts(t); len(got) != 0 {
			t.Errorf("%d mounts are left", len(got))
		}
	})
}
