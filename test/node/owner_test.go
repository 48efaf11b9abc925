package node

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/image-csi/image-csi-operator/hack/cluster/cluster"
	"github.com/image-csi/image-csi-operator/hack/cluster/image"
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
	onEveryRuntime(t, func(t *testing.T, p *plugin) {
		p.mustPublish(t, volume{id: "owned-ro", image: owned, inline: true, readOnly: true})
		found := p.target.inNode(t, "find", "/var/lib", "-path", kubeletRoot, "-prune", "-o", "-name", ownedFile, "-print")
		layer, _, _ := strings.Cut(found, "\n")
		if layer == "" {
			t.Fatal("no layer of the image on the node")
		}
		top := filepath.Join(p.target.root(), filepath.Dir(layer))
		if err := os.Chown(top, 1000, 2000); err != nil {
			t.Fatal(err)
		}
		if err := syscall.Chmod(top, 0o1570); err != nil {
			t.Fatal(err)
		}
		path := p.mustPublish(t, volume{id: "owned-rw", image: owned, inline: true})
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		stat := info.Sys().(*syscall.Stat_t)
		if stat.Uid != 1000 || stat.Gid != 2000 || info.Mode() != os.ModeDir|os.ModeSticky|0o770 {
			t.Errorf("owner %d, group %d, mode %s", stat.Uid, stat.Gid, info.Mode())
		}
		p.unpublish(t, "owned-rw")
		p.unpublish(t, "owned-ro")
	})
}
