package bench

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/image-csi/image-csi-operator/hack/cluster"
	"github.com/image-csi/image-csi-operator/hack/cluster/image"
	"github.com/image-csi/image-csi-operator/internal/contract"
	"github.com/image-csi/image-csi-operator/test/internal/imagelayers"
	"github.com/image-csi/image-csi-operator/test/internal/nodes"
	"github.com/image-csi/image-csi-operator/test/internal/poll"
)

// wide is an image of ten layers with 5,000 files of 20 kB in 400 directories.
const wide = "registry.example/bench/wide:1"

func pushWide(ctx context.Context, c *cluster.Cluster) error {
	random := rand.NewChaCha8([32]byte{})
	var layers [][]image.File
	for layer := range 10 {
		var files []image.File
		for i := range 500 {
			content := make([]byte, 20_000)
			_, _ = random.Read(content)
			files = append(files, image.File{Path: fmt.Sprintf("/%d/%d/%d", layer, i%40, i), Content: content})
		}
		layers = append(layers, files)
	}
	made, err := image.Data(layers...)
	if err != nil {
		return err
	}
	return c.Push(ctx, "bench/wide:1", made)
}

// mappable asks for the form IDMappable.
func (v volume) mappable() volume {
	v.request.VolumeContext[contract.FormAttribute] = string(contract.FormIDMappable)
	return v
}

// BenchmarkLinkedTree compares a volume for a pod with users of its own with a copy of its image, which would serve as well.
func BenchmarkLinkedTree(b *testing.B) {
	const rounds = 5
	p := plugin(b, "--"+contract.FlagReleaseAfter+"=100ms")
	overlay := newVolume(b, p, "overlay", wide)
	linked, further := newVolume(b, p, "linked", wide).mappable(), newVolume(b, p, "further", wide).mappable()
	written := newVolume(b, p, "written", wide).mappable()
	written.request.Readonly = false
	pulled(b, overlay)
	shown, copied := filepath.Join(p.Target.Root(), overlay.target), filepath.Join(p.Target.Root(), nodes.KubeletRoot, "copy")
	var firsts, furthers, ends, copies, writables samples
	take := func() {
		for range rounds {
			must(b, copies.time(func() error { return os.CopyFS(copied, os.DirFS(shown)) }))
			must(b, os.RemoveAll(copied))
			must(b, firsts.time(linked.publish))
			must(b, furthers.time(further.publish))
			must(b, further.unpublish())
			must(b, ends.time(linked.unpublish))
			must(b, writables.time(written.publish))
			must(b, written.unpublish())
			released(b, p)
		}
	}
	measure(b, "first publish in the form IDMappable", func() (float64, string) {
		firsts, furthers, ends, copies, writables = nil, nil, nil, nil, nil
		take()
		return ratio(firsts.median(), copies.median()), fmt.Sprintf("p50 %s; a copy of the image %s", micros(firsts.median()), micros(copies.median()))
	})
	measure(b, "further publish in the form IDMappable", func() (float64, string) {
		return ratio(furthers.median(), copies.median()), fmt.Sprintf("p50 %s; a copy of the image %s", micros(furthers.median()), micros(copies.median()))
	})
	measure(b, "unpublish in the form IDMappable", func() (float64, string) {
		return ratio(ends.median(), copies.median()), fmt.Sprintf("p50 %s; a copy of the image %s", micros(ends.median()), micros(copies.median()))
	})
	measure(b, "publish of a writable volume in the form IDMappable", func() (float64, string) {
		return ratio(writables.median(), copies.median()), fmt.Sprintf("p50 %s; a copy of the image %s", micros(writables.median()), micros(copies.median()))
	})
	must(b, overlay.unpublish())
}

// BenchmarkEROFSFile compares a volume from an EROFS file, for which no links can be made, with a copy of its image.
func BenchmarkEROFSFile(b *testing.B) {
	const rounds = 3
	p := plugin(b, "--"+contract.FlagReleaseAfter+"=100ms")
	overlay := newVolume(b, p, "overlay", wide)
	filed, further := newVolume(b, p, "filed", wide).mappable(), newVolume(b, p, "further", wide).mappable()
	pulled(b, overlay)
	imagelayers.WithoutLinks(b, p.Target.Root(), "/0/0/0")
	shown, copied := filepath.Join(p.Target.Root(), overlay.target), filepath.Join(p.Target.Root(), nodes.KubeletRoot, "copy")
	var firsts, furthers, copies samples
	measure(b, "first publish from an EROFS file", func() (float64, string) {
		firsts, furthers, copies = nil, nil, nil
		for range rounds {
			must(b, copies.time(func() error { return os.CopyFS(copied, os.DirFS(shown)) }))
			must(b, os.RemoveAll(copied))
			must(b, firsts.time(filed.publish))
			must(b, furthers.time(further.publish))
			must(b, further.unpublish())
			must(b, filed.unpublish())
			released(b, p)
		}
		return ratio(firsts.median(), copies.median()), fmt.Sprintf("p50 %s; a copy of the image %s", micros(firsts.median()), micros(copies.median()))
	})
	measure(b, "further publish from an EROFS file", func() (float64, string) {
		return ratio(furthers.median(), copies.median()), fmt.Sprintf("p50 %s; a copy of the image %s", micros(furthers.median()), micros(copies.median()))
	})
	must(b, overlay.unpublish())
}

// released waits until nothing is left of the linked trees and EROFS files.
func released(b *testing.B, p *nodes.Plugin) {
	b.Helper()
	dir := filepath.Join(p.Target.Root(), nodes.KubeletRoot, contract.PluginsDir, p.Driver)
	poll.Until(b, "removal of the form", time.Minute, func() error {
		var errs []error
		for _, name := range []string{"stores", "files"} {
			left, err := os.ReadDir(filepath.Join(dir, name))
			if err == nil && len(left) > 0 {
				err = fmt.Errorf("%d are left in %s", len(left), name)
			}
			errs = append(errs, err)
		}
		return errors.Join(errs...)
	})
}
