package node

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/image-csi/image-csi-operator/hack/cluster"
	"github.com/image-csi/image-csi-operator/hack/cluster/image"
	"github.com/image-csi/image-csi-operator/test/internal/nodes"
)

const (
	owned     = "registry.example/test/owned:1"
	ownedFile = "owned-test-file" // in its topmost layer
)

func pushOwned(ctx context.Context, c *cluster.Cluster) error {
	made, err := image.Data([]image.File{{Path: "/low"}}, []image.File{{Path: "/" + ownedFile}})
	if err != nil {
		return err
	}
	return c.Push(ctx, "test/owned:1", made)
}

// The runtimes give a layer's top directory an owner and a mode by rules of their own, so the test sets them.
func TestAWritableVolumesRootIsTheImagesRoot(t *testing.T) {
	suite.OnEveryNode(t, func(t *testing.T, p *nodes.Plugin) {
		p.MustPublish(t, nodes.Volume{ID: "owned-ro", Image: owned, Inline: true, ReadOnly: true})
		found := p.Target.Run(t, "find", "/var/lib", "-path", nodes.KubeletRoot, "-prune", "-o", "-name", ownedFile, "-print")
		layer, _, _ := strings.Cut(found, "\n")
		if layer == "" {
			t.Fatal("no layer of the image on the node")
		}
		top := filepath.Join(p.Target.Root(), filepath.Dir(layer))
		if err := os.Chown(top, 1000, 2000); err != nil {
			t.Fatal(err)
		}
		if err := syscall.Chmod(top, 0o1570); err != nil {
			t.Fatal(err)
		}
		path := p.MustPublish(t, nodes.Volume{ID: "owned-rw", Image: owned, Inline: true})
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		stat := info.Sys().(*syscall.Stat_t)
		if stat.Uid != 1000 || stat.Gid != 2000 || info.Mode() != os.ModeDir|os.ModeSticky|0o770 {
			t.Errorf("owner %d, group %d, mode %s", stat.Uid, stat.Gid, info.Mode())
		}
		p.Unpublish(t, "owned-rw")
		p.Unpublish(t, "owned-ro")
	})
}
