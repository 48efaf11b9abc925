package bench

import (
	"context"
	"syscall"
	"testing"

	"github.com/container-storage-interface/spec/lib/go/csi"

	"github.com/image-csi/image-csi-operator/internal/contract"
	"github.com/image-csi/image-csi-operator/test/internal/nodes"
)

// plugin runs the node plugin of the checkout on the node.
func plugin(b *testing.B, flags ...string) *nodes.Plugin {
	b.Helper()
	return pluginOn(b, node(b), flags...)
}

// pluginOn is plugin for one of several nodes. Its log says what it says in production.
func pluginOn(b *testing.B, target *nodes.Target, flags ...string) *nodes.Plugin {
	b.Helper()
	p := &nodes.Plugin{
		Target: target, Driver: nodes.DriverName(),
		Flags: append([]string{"--" + contract.FlagLogLevel + "=info"}, flags...),
	}
	p.Start(b)
	b.Cleanup(func() { p.Stop(b, syscall.SIGTERM) })
	return p
}

// volume is a read-only inline volume, with its requests made before the clock starts.
type volume struct {
	plugin    *nodes.Plugin
	target    string
	request   *csi.NodePublishVolumeRequest
	unrequest *csi.NodeUnpublishVolumeRequest
}

// newVolume prepares what the kubelet prepares, which is the target's parent.
func newVolume(b *testing.B, p *nodes.Plugin, id, image string) volume {
	b.Helper()
	target := place(b, p.Target, id)
	request := nodes.Volume{ID: id, Image: image, Inline: true, ReadOnly: true}.Request(target)
	return volume{
		plugin: p, target: target, request: request,
		unrequest: &csi.NodeUnpublishVolumeRequest{VolumeId: request.GetVolumeId(), TargetPath: target},
	}
}

// writable makes the volume one that the pod can write in.
func (v volume) writable() volume {
	v.request.Readonly = false
	return v
}

func (v volume) publish() error {
	_, err := v.plugin.NodePublishVolume(context.Background(), v.request)
	return err
}

func (v volume) unpublish() error {
	_, err := v.plugin.NodeUnpublishVolume(context.Background(), v.unrequest)
	return err
}

// empty makes a call that the node plugin answers without doing anything.
func empty(p *nodes.Plugin) error {
	_, err := p.GetPluginInfo(context.Background(), &csi.GetPluginInfoRequest{})
	return err
}

// must ends the benchmark at an error.
func must(b *testing.B, err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}
