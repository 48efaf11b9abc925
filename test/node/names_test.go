package node

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"

	"github.com/image-csi/image-csi-operator/internal/contract"
	"github.com/image-csi/image-csi-operator/test/internal/nodes"
	"github.com/image-csi/image-csi-operator/test/internal/poll"
)

// withAlias runs a test on every node with a plugin that serves two names.
func withAlias(t *testing.T, test func(t *testing.T, p *nodes.Plugin, alias string)) {
	suite.OnEveryNode(t, func(t *testing.T, p *nodes.Plugin) {
		alias := nodes.DriverName()
		p.Stop(t, syscall.SIGTERM)
		p.Flags = []string{"--" + contract.FlagAlias + "=" + alias}
		p.Start(t)
		test(t, p, alias)
	})
}

func TestAPluginIsReadyWhenEachOfItsNamesIsRegistered(t *testing.T) {
	withAlias(t, func(t *testing.T, p *nodes.Plugin, alias string) {
		p.Register(t)
		if err := p.Ready(t); err == nil || !strings.Contains(err.Error(), "has not registered driver "+alias) {
			t.Errorf("readiness before the registration of the alias: %v", err)
		}
		p.RegisterAs(t, alias)
		if err := p.Ready(t); err != nil {
			t.Errorf("readiness: %v", err)
		}
	})
}

func TestTheNamesOfADriverShareItsVolumesAndPins(t *testing.T) {
	withAlias(t, func(t *testing.T, p *nodes.Plugin, alias string) {
		byName, byAlias := p.As(t, p.Driver), p.As(t, alias)
		for id, volume := range map[string]struct {
			client   csi.NodeClient
			readOnly bool
		}{"ro-name": {byName, true}, "ro-alias": {byAlias, true}, "rw-name": {byName, false}, "rw-alias": {byAlias, false}} {
			publishBy(t, p, volume.client, nodes.Volume{ID: id, Image: nodes.Numbered(2), Inline: true, ReadOnly: volume.readOnly})
		}
		for _, id := range []string{"rw-name", "rw-alias"} {
			if err := os.WriteFile(filepath.Join(p.Target.Root(), p.Path(id), "top"), []byte(id), 0o644); err != nil {
				t.Error(err)
			}
		}
		if pins, others := p.Target.Pins(t, p.Driver), p.Target.Pins(t, alias); len(pins) != 1 || len(others) != 0 {
			t.Errorf("the runtime holds pins %q and %q, want one", pins, others)
		}
		wantMetrics(t, p, `imagecsi_volumes{access="ReadOnly"} 2`, `imagecsi_volumes{access="ReadWrite"} 2`, "imagecsi_pins 1")

		p.Stop(t, syscall.SIGKILL)
		p.Start(t)
		// The other name's turn, as when pods and PersistentVolumes name one and the driver's object goes by the other.
		publishBy(t, p, byAlias, nodes.Volume{ID: "rw-name", Image: nodes.Numbered(2), Inline: true})
		publishBy(t, p, byName, nodes.Volume{ID: "rw-alias", Image: nodes.Numbered(2), Inline: true})
		for id, want := range map[string]string{"rw-name": "rw-name", "rw-alias": "rw-alias", "ro-name": "1\n", "ro-alias": "1\n"} {
			if got := nodes.Read(t, p.Target.Root(), p.Path(id), "top"); got != want {
				t.Errorf("/top of %s holds %q, want %q", id, got, want)
			}
		}
		if got := p.Mounts(t); len(got) != 4 {
			t.Errorf("mounts %q, want one for each volume", got)
		}
		for id, client := range map[string]csi.NodeClient{"ro-name": byAlias, "ro-alias": byName, "rw-name": byAlias, "rw-alias": byName} {
			if _, err := client.NodeUnpublishVolume(t.Context(), &csi.NodeUnpublishVolumeRequest{VolumeId: p.VolumeID(id), TargetPath: p.Path(id)}); err != nil {
				t.Errorf("unpublish of %s by the other name: %v", id, err)
			}
			p.Unpublish(t, id)
		}
		poll.Until(t, "nothing is left of the volumes", time.Minute, func() error {
			left, err := filepath.Glob(filepath.Join(p.Target.Root(), nodes.KubeletRoot, contract.PluginsDir, "*", "volumes", "*"))
			left = ofDrivers(left, p.Driver, alias)
			if mounts := p.Mounts(t); err != nil || len(left)+len(mounts) > 0 {
				return fmt.Errorf("left %q, mounts %q (%w)", left, mounts, err)
			}
			return nil
		})
		p.Stop(t, syscall.SIGTERM)
		if got := append(p.Target.Pins(t, p.Driver), p.Target.Pins(t, alias)...); len(got) != 0 {
			t.Errorf("the runtime still holds pins %q", got)
		}
	})
}

// A directory of an alias would stay for ever, because the next process does not know the name.
func TestADroppedAliasLeavesNothingOnItsNode(t *testing.T) {
	for what, signal := range map[string]syscall.Signal{"stopped": syscall.SIGTERM, "killed": syscall.SIGKILL} {
		t.Run(what, func(t *testing.T) {
			withAlias(t, func(t *testing.T, p *nodes.Plugin, alias string) {
				kubelet := filepath.Join(p.Target.Root(), nodes.KubeletRoot)
				legacy := filepath.Join(kubelet, contract.PluginsDir, alias, "kept")
				if err := os.MkdirAll(legacy, 0o700); err != nil { // of another driver that once had the name
					t.Fatal(err)
				}
				defer os.RemoveAll(filepath.Dir(legacy))
				p.Stop(t, signal)
				p.Flags = nil
				p.Start(t)
				p.Register(t)
				if err := p.Ready(t); err != nil {
					t.Errorf("readiness without the alias: %v", err)
				}
				sockets, err := filepath.Glob(filepath.Join(kubelet, contract.PluginsDir, p.Driver, "*.sock"))
				if err != nil || len(sockets) != 1 || filepath.Base(sockets[0]) != contract.SocketName {
					t.Errorf("the driver's directory has the sockets %q (%v)", sockets, err)
				}
				if left, err := filepath.Glob(filepath.Join(kubelet, "plugins*", alias+"*", "*")); err != nil || len(left) != 1 || left[0] != legacy {
					t.Errorf("in the alias's own directory is %q (%v), want another's files and no more", left, err)
				}
				if left, err := filepath.Glob(filepath.Join(kubelet, contract.RegistryDir, alias+"*")); err != nil || len(left) != 0 {
					t.Errorf("%q is left (%v)", left, err)
				}
			})
		})
	}
}

func publishBy(t *testing.T, p *nodes.Plugin, client csi.NodeClient, v nodes.Volume) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(filepath.Join(p.Target.Root(), p.Path(v.ID))), 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := client.NodePublishVolume(t.Context(), v.Request(p.Path(v.ID))); err != nil {
		t.Fatalf("publish of %s: %v", v.ID, err)
	}
}

// ofDrivers keeps the paths that name one of the drivers.
func ofDrivers(paths []string, drivers ...string) []string {
	var found []string
	for _, path := range paths {
		for _, driver := range drivers {
			if strings.Contains(path, driver) {
				found = append(found, path)
			}
		}
	}
	return found
}
