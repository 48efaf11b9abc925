package faults

import (
	"context"
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

const (
	// promptly is how long the end of a volume may take, which needs no runtime.
	promptly = 10 * time.Second

	// impatience is less than what the kubelet waits for a publish.
	impatience = 5 * time.Second
)

// silences are the ways in which a runtime does not answer. Each returns what ends it.
var silences = map[string]func(*testing.T, *nodes.Plugin) (end func()){
	"hangs":   func(t *testing.T, p *nodes.Plugin) func() { return p.Target.HangRuntime(t) }, // it takes calls
	"is down": func(t *testing.T, p *nodes.Plugin) func() { return p.Target.StopRuntime(t) },
}

func TestARuntimeIsSilentUnderAPlugin(t *testing.T) {
	onEverySilence(t, func(t *testing.T, p *nodes.Plugin, silence func(*testing.T, *nodes.Plugin) func()) {
		p.Register(t)
		if err := p.Ready(t); err != nil {
			t.Fatalf("readiness before: %v", err)
		}
		testSilence(t, p, func() func() { return silence(t, p) })
	})
}

func TestAPluginStartsUnderASilentRuntime(t *testing.T) {
	onEverySilence(t, func(t *testing.T, p *nodes.Plugin, silence func(*testing.T, *nodes.Plugin) func()) {
		testSilence(t, p, func() func() {
			p.Stop(t, syscall.SIGKILL)
			end := silence(t, p)
			p.Start(t)
			p.Register(t)
			return end
		})
	})
}

func onEverySilence(t *testing.T, test func(*testing.T, *nodes.Plugin, func(*testing.T, *nodes.Plugin) func())) {
	onEveryRuntime(t, func(t *testing.T, p *nodes.Plugin) {
		for name, silence := range silences {
			t.Run(name, func(t *testing.T) { test(t, p, silence) })
		}
	})
}

// testSilence wants volumes to stay and to end while the runtime is silent, the plugin to live and to say why it is not
// ready, and all to be well once the runtime is back.
func testSilence(t *testing.T, p *nodes.Plugin, silence func() (end func())) {
	t.Helper()
	p.MustPublish(t, neighbour)
	written.publishAndWrite(t, p)
	path := filepath.Join(p.Target.Root(), p.Path(written.ID))
	end := silence()
	unpublishPromptly(t, p, neighbour.ID) // at once: a connection that a plugin begins now takes its time to fail
	wantNotReady(t, p)
	if err := publishWithin(t, p, nodes.Volume{ID: "another", Image: neighbour.Image, Inline: true, ReadOnly: true}, impatience); !isSilence(err) {
		t.Errorf("a publish gets %v", err)
	}
	wantContent(t, p, path)
	for _, id := range []string{written.ID, "another"} {
		unpublishPromptly(t, p, id)
	}
	wantNotReady(t, p)
	end()
	poll.Until(t, "readiness once the runtime is back", time.Minute, func() error { return p.Ready(t) })
	poll.Until(t, "a publish after that", time.Minute, func() error {
		_, err := p.Publish(t, readOnly.Volume)
		return err
	})
	readOnly.publishAndRead(t, p)
}

// isSilence reports whether an error leaves open that the image and the registry are fine, for the kubelet and for its reader.
func isSilence(err error) bool {
	code := status.Code(err)
	return (code == codes.DeadlineExceeded || code == codes.Unavailable) && !strings.Contains(err.Error(), "the registry")
}

func wantNotReady(t *testing.T, p *nodes.Plugin) {
	t.Helper()
	p.Alive(t)
	if err := p.Ready(t); err == nil || !strings.Contains(err.Error(), "503 not ready: the container runtime at") {
		t.Errorf("readiness: %v", err)
	}
}

func publishWithin(t *testing.T, p *nodes.Plugin, v nodes.Volume, within time.Duration) error {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(filepath.Join(p.Target.Root(), p.Path(v.ID))), 0o755); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	_, err := p.NodePublishVolume(ctx, v.Request(p.Path(v.ID)))
	return err
}

// unpublishPromptly ends a volume, and its pod.
func unpublishPromptly(t *testing.T, p *nodes.Plugin, id string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), promptly)
	defer cancel()
	started := time.Now()
	_, err := p.NodeUnpublishVolume(ctx, &csi.NodeUnpublishVolumeRequest{VolumeId: p.VolumeID(id), TargetPath: p.Path(id)})
	if err != nil {
		t.Errorf("unpublish of %s: %v", id, err)
	}
	t.Logf("unpublish of %s took %s", id, time.Since(started))
	p.Unpublish(t, id) // again, as the kubelet may
}
