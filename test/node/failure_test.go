package node

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/image-csi/image-csi-operator/internal/contract"
	"github.com/image-csi/image-csi-operator/test/internal/nodes"
	"github.com/image-csi/image-csi-operator/test/internal/poll"
)

// quick is how long a call may take that has nothing to wait for. The kubelet waits two minutes.
const quick = 10 * time.Second

func TestARuntimeThatIsDownIsToldAndComesBackWithoutARestart(t *testing.T) {
	suite.OnEveryNode(t, func(t *testing.T, p *nodes.Plugin) {
		if err := p.Ready(t); err == nil || !strings.Contains(err.Error(), "has not registered driver") {
			t.Errorf("readiness before the registration: %v", err)
		}
		p.Register(t)
		if err := p.Ready(t); err != nil {
			t.Fatalf("readiness: %v", err)
		}
		readOnly := nodes.Volume{ID: "down-ro", Image: nodes.Numbered(2), Inline: true, ReadOnly: true}
		path := p.MustPublish(t, readOnly)
		written := p.MustPublish(t, nodes.Volume{ID: "down-rw", Image: nodes.Numbered(2), Inline: true})
		socket := filepath.Join(p.Target.Root(), p.Target.Node.RuntimeSocket())

		start := p.Target.StopRuntime(t)
		wantRuntimeMissed(t, p)
		if err := os.Remove(socket); err != nil { // as a runtime does that stops in peace
			t.Fatal(err)
		}
		wantRuntimeMissed(t, p)
		if got := nodes.Read(t, path, "top"); got != "1\n" {
			t.Errorf("/top holds %q", got)
		}
		if err := os.WriteFile(filepath.Join(written, "new"), nil, 0o600); err != nil {
			t.Error(err)
		}
		p.Unpublish(t, "down-ro")
		p.Unpublish(t, "down-rw")

		start()
		poll.Until(t, "readiness once the runtime is back", time.Minute, func() error { return p.Ready(t) })
		p.MustPublish(t, readOnly)
		p.Unpublish(t, "down-ro")
	})
}

// wantRuntimeMissed wants everything that needs the runtime to say so, and quickly. Aborted or an own fault would let
// the kubelet and the rollout draw other conclusions.
func wantRuntimeMissed(t *testing.T, p *nodes.Plugin) {
	t.Helper()
	p.Alive(t)
	if err := p.Ready(t); err == nil || !strings.Contains(err.Error(), "503 not ready: the container runtime at") {
		t.Errorf("readiness: %v", err)
	}
	image := nodes.Volume{ID: "missed", Image: nodes.Numbered(2), Inline: true}
	readOnly, always := image, image
	readOnly.ReadOnly = true
	always.Attributes = map[string]string{contract.PullPolicyAttribute: "Always"}
	for what, v := range map[string]nodes.Volume{"writable": image, "read-only": readOnly, "pulled always": always} {
		if err := publishWithin(t, p, v, quick); status.Code(err) != codes.Unavailable || strings.Contains(err.Error(), "the registry") {
			t.Errorf("%s: got %v, want Unavailable and no blame of the registry", what, err)
		}
	}
	wantNothingOf(t, p, "missed", 1)
}

// A rollout's health gate reads the readiness, so that it has to tell of a node plugin that runs and cannot mount. What an
// image brings about is not its fault.
func TestAPluginThatKeepsFailingByItsOwnFaultIsNotReadyUntilItWorksAgain(t *testing.T) {
	suite.OnEveryNode(t, func(t *testing.T, p *nodes.Plugin) {
		p.Register(t)
		publish := func(id, image string, want codes.Code) {
			t.Helper()
			if _, err := p.Publish(t, nodes.Volume{ID: id, Image: image, Inline: true, ReadOnly: true}); status.Code(err) != want {
				t.Fatalf("publish %s: got %v, want %s", image, err, want)
			}
		}
		for range 4 {
			publish("none", "registry.example/test/none:1", codes.NotFound)
		}
		if err := p.Ready(t); err != nil {
			t.Errorf("readiness after the faults of an image: %v", err)
		}

		// A volume of one layer needs this directory of the plugin's own.
		empty := filepath.Join(p.Target.Root(), nodes.KubeletRoot, contract.PluginsDir, p.Driver, "empty")
		if err := os.Remove(empty); err != nil {
			t.Fatal(err)
		}
		for range 5 {
			publish("own-0", nodes.Numbered(1), codes.Internal)
		}
		if err := p.Ready(t); err != nil {
			t.Errorf("readiness after what one volume met: %v", err)
		}
		own := []string{"own-0", "own-1", "own-2"}
		for _, id := range own {
			publish(id, nodes.Numbered(1), codes.Internal)
		}
		if err := p.Ready(t); err == nil || !strings.Contains(err.Error(), "503 not ready: NodePublishVolume failed for 3 of the latest 3 volumes") {
			t.Errorf("readiness after faults of its own: %v", err)
		}
		p.Alive(t)

		if err := os.Mkdir(empty, 0o755); err != nil {
			t.Fatal(err)
		}
		for _, id := range own {
			publish(id, nodes.Numbered(1), codes.OK)
		}
		if err := p.Ready(t); err != nil {
			t.Errorf("readiness of a plugin that works again: %v", err)
		}
		for _, id := range own {
			p.Unpublish(t, id)
		}
	})
}

// publishWithin publishes a volume for which the test makes no directory, so that what is there came from the plugin.
func publishWithin(t *testing.T, p *nodes.Plugin, v nodes.Volume, within time.Duration) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	_, err := p.NodePublishVolume(ctx, v.Request(p.Path(v.ID)))
	return err
}

// wantNothingOf wants no trace of a volume that was never published, and the data of other writable ones, if any.
func wantNothingOf(t *testing.T, p *nodes.Plugin, id string, others int) {
	t.Helper()
	if _, err := os.Lstat(filepath.Join(p.Target.Root(), p.Path(id))); !os.IsNotExist(err) {
		t.Errorf("there is something at the target (%v)", err)
	}
	wantData(t, p, others)
	for _, mount := range p.Mounts(t) {
		if strings.Contains(mount, p.Path(id)) {
			t.Errorf("mounted: %s", mount)
		}
	}
}

// wantData wants the data of so many writable volumes on the node. What a volume leaves is removed after it is unpublished.
func wantData(t *testing.T, p *nodes.Plugin, volumes int) {
	t.Helper()
	poll.Until(t, "the data of writable volumes", quick, func() error {
		found, err := filepath.Glob(filepath.Join(p.Target.Root(), nodes.KubeletRoot, contract.PluginsDir, p.Driver, "volumes/*"))
		if err == nil && len(found) != volumes {
			err = fmt.Errorf("of %d volumes: %q", volumes, found)
		}
		return err
	})
}
