package nodes

import (
	"context"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/plugins"
)

// kubernetesNamespace is where containerd keeps what it holds for the kubelet, and for the node plugin.
const kubernetesNamespace = "k8s.io"

// Containerd is a client of the node's containerd, which works until the test ends or containerd does.
func (t *Target) Containerd(test testing.TB) *client.Client {
	test.Helper()
	c, err := client.New(filepath.Join(t.Root(), t.Node.RuntimeSocket()), client.WithDefaultNamespace(kubernetesNamespace))
	if err != nil {
		test.Fatal(err)
	}
	test.Cleanup(func() { _ = c.Close() })
	return c
}

// Snapshots names the snapshots whose name contains text, by the snapshotter that has them. Each is asked that works.
func (t *Target) Snapshots(test testing.TB, c *client.Client, text string) map[string][]string {
	test.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(test.Context()), time.Minute) // also at a test's end
	defer cancel()
	loaded, err := c.IntrospectionService().Plugins(ctx, "type=="+string(plugins.SnapshotPlugin))
	if err != nil {
		test.Fatal(err)
	}
	found := map[string][]string{}
	for _, plugin := range loaded.GetPlugins() {
		if plugin.GetInitErr() != nil {
			continue
		}
		err := c.SnapshotService(plugin.GetID()).Walk(ctx, func(_ context.Context, info snapshots.Info) error {
			if strings.Contains(info.Name, text) {
				found[plugin.GetID()] = append(found[plugin.GetID()], info.Name)
			}
			return nil
		})
		if err != nil {
			test.Fatalf("listing the snapshots of %s: %v", plugin.GetID(), err)
		}
	}
	return found
}

// CollectGarbage has containerd drop what nothing keeps, and returns when it has. It does so by itself, some time after whatever
// kept a layer is gone.
func (t *Target) CollectGarbage(test testing.TB) {
	test.Helper()
	service := t.Containerd(test).LeasesService()
	lease, err := service.Create(test.Context(), leases.WithRandomID())
	if err == nil {
		err = service.Delete(test.Context(), lease, leases.SynchronousDelete)
	}
	if err != nil {
		test.Fatal(err)
	}
}
