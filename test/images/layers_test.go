package images

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/image-csi/image-csi-operator/hack/cluster"
	"github.com/image-csi/image-csi-operator/internal/contract"
	"github.com/image-csi/image-csi-operator/test/internal/nodes"
)

// layerCounts reach from the least to the most that the kernel stacks. 127 is the most that runtimes allow on a
// writable container layer, and 60 is past the page that mount(2) reads where paths are absolute.
var layerCounts = []int{1, 2, 10, 60, 127, 400, 500}

func TestImagesOfOneToFiveHundredLayersMountRight(t *testing.T) {
	suite.OnEveryNode(t, func(t *testing.T, p *nodes.Plugin) {
		for _, layers := range layerCounts {
			if layers > most(p.Target) {
				break
			}
			t.Run(fmt.Sprint(layers), func(t *testing.T) {
				both(t, p, nodes.Numbered(layers), func(t *testing.T, path string, writable bool) {
					checkNumbered(t, path, layers)
					if writable {
						overwriteNumbered(t, path, layers)
					}
				})
			})
		}
	})
}

// most is how many layers it is sensible to unpack on a node: for each layer, native copies all that are beneath it, and
// erofs mounts them, where containerd 2.4.2 gives up somewhere past 127 ("failed to activate mounts: bucket already
// exists"). The mount engine's own tests stack 500 EROFS layers. CRI-O starts itself for each layer, a quarter of a second of
// processor time, so only `make test-modes` has it unpack 500.
func most(target *nodes.Target) int {
	switch {
	case target.Node.Snapshotter() == cluster.Native, target.Node.Snapshotter() == cluster.EROFS:
		return 127
	case target.Runtime == contract.RuntimeCRIO && os.Getenv("IMAGECSI_LAYERS") != "all":
		return 127
	default:
		return 500
	}
}

// checkNumbered wants every layer of a numbered image to be there, in order, and nothing else.
func checkNumbered(t *testing.T, path string, layers int) {
	t.Helper()
	if got, want := nodes.Read(t, path, "top"), fmt.Sprintf("%d\n", layers-1); got != want {
		t.Errorf("/top holds %q, want %q", got, want)
	}
	files, err := os.ReadDir(filepath.Join(path, "layers"))
	if err != nil || len(files) != layers {
		t.Errorf("%d files in /layers (%v), want %d", len(files), err, layers)
	}
	for i := range layers {
		if got, want := nodes.Read(t, path, "layers", fmt.Sprint(i)), fmt.Sprintf("layer %d\n", i); got != want {
			t.Errorf("layer %d holds %q", i, got)
		}
	}
	if entries, err := os.ReadDir(path); err != nil || len(entries) != 2 {
		t.Errorf("the root holds %v, want layers and top only (%v)", entries, err)
	}
}

// overwriteNumbered copies up a file of the lowest and of the highest layer.
func overwriteNumbered(t *testing.T, path string, layers int) {
	t.Helper()
	for _, name := range []string{"layers/0", fmt.Sprintf("layers/%d", layers-1), "top"} {
		if err := os.WriteFile(filepath.Join(path, name), []byte("mine"), 0o644); err != nil {
			t.Error(err)
		} else if got := nodes.Read(t, path, name); got != "mine" {
			t.Errorf("%s holds %q", name, got)
		}
	}
}
