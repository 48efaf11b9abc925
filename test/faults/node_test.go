package faults

import (
	"context"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

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
		poll.Until(t, "nothing is left of the volumes", time.Minute, func() error {
			p.Stop(t, syscall.SIGTERM)
			left, err := filepath.Glob(filepath.Join(p.Target.Root(), nodes.KubeletRoot, contract.PluginsDir, p.Driver, "volumes/*"))
			if err == nil && len(left)+len(p.Mounts(t))+len(p.Target.Pins(t, p.Driver)) > 0 {
				p.Start(t)
				err = os.ErrExist
			}
			return err
		})
	})
}

// A runtime that hangs takes calls and does not answer them.
func TestARuntimeHangs(t *testing.T) {
	onEveryRuntime(t, func(t *testing.T, p *nodes.Plugin) {
		program := "containerd"
		if p.Target.Runtime == contract.RuntimeCRIO {
			program = "crio"
		}
		path := p.MustPublish(t, neighbour)
		hang := func(signal string) { p.Target.Run(t, "sh", "-c", "kill -"+signal+" $(pidof "+program+")") }
		hang("STOP")
		t.Cleanup(func() { hang("CONT") })
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		if err := os.MkdirAll(filepath.Dir(filepath.Join(p.Target.Root(), p.Path(readOnly.ID))), 0o755); err != nil {
			t.Fatal(err)
		}
		_, err := p.NodePublishVolume(ctx, readOnly.Request(p.Path(readOnly.ID)))
		if code := status.Code(err); code != codes.DeadlineExceeded && code != codes.Unavailable {
			t.Errorf("a publish gets %v", err)
		}
		wantContent(t, p, path)
		p.Unpublish(t, neighbour.ID) // needs no runtime
		hang("CONT")
		poll.Until(t, "a publish after that", time.Minute, func() error {
			_, err := p.Publish(t, readOnly.Volume)
			return err
		})
		p.Unpublish(t, readOnly.ID)
	})
}
