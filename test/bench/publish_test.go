package bench

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/image-csi/image-csi-operator/hack/cluster"
	"github.com/image-csi/image-csi-operator/hack/cluster/image"
	"github.com/image-csi/image-csi-operator/internal/contract"
	"github.com/image-csi/image-csi-operator/test/internal/nodes"
	"github.com/image-csi/image-csi-operator/test/internal/poll"
)

// variants is the number of images of ten layers that differ in the topmost, so that each has a tree of its own.
const variants = 20

func variant(i int) string { return fmt.Sprintf("registry.example/bench/variant:%d", i) }

func pushVariants(ctx context.Context, c *cluster.Cluster) error {
	for i := range variants {
		var layers [][]image.File
		for layer := range 9 {
			layers = append(layers, []image.File{{Path: fmt.Sprint("/layer-", layer), Content: []byte("x")}})
		}
		made, err := image.Data(append(layers, []image.File{{Path: "/variant", Content: fmt.Append(nil, i)}})...)
		if err != nil {
			return err
		}
		if err := c.Push(ctx, fmt.Sprintf("bench/variant:%d", i), made); err != nil {
			return err
		}
	}
	return nil
}

// further are what volumes of an image in use cost, and the least that they can cost.
type further struct {
	publish, unpublish, empty, mount, unmount samples
}

// takeFurther takes everything in turn, so that all meet the same machine in the same state.
func takeFurther(b *testing.B, p *nodes.Plugin, d direct, t thread, reference string, times int) further {
	b.Helper()
	var f further
	layers, err := d.layers(b.Context(), reference)
	must(b, err)
	v := newVolume(b, p, "further", reference)
	bare := newBare(layers, place(b, p.Target, "bare"))
	for range times {
		must(b, f.empty.time(func() error { return empty(p) }))
		must(b, bare.pair(t, &f.mount, &f.unmount))
		must(b, f.publish.time(v.publish))
		must(b, f.unpublish.time(v.unpublish))
	}
	return f
}

// BenchmarkFurtherVolume publishes an image that another volume shows already.
func BenchmarkFurtherVolume(b *testing.B) {
	p, d, t := plugin(b), newDirect(b, node(b)), onNode(b, node(b))
	first := newVolume(b, p, "first", nodes.Numbered(10))
	pulled(b, first)
	measure(b, "publish of an image in use", func() (float64, string) {
		f := takeFurther(b, p, d, t, nodes.Numbered(10), 300)
		return ratio(f.publish.median(), f.empty.median()+f.mount.median()),
			fmt.Sprintf("p50 %s; empty call %s, bare mount %s", micros(f.publish.median()), micros(f.empty.median()), micros(f.mount.median()))
	})
	measure(b, "unpublish", func() (float64, string) {
		f := takeFurther(b, p, d, t, nodes.Numbered(10), 300)
		return ratio(f.unpublish.median(), f.empty.median()+f.unmount.median()),
			fmt.Sprintf("p50 %s; empty call %s, bare unmount %s", micros(f.unpublish.median()), micros(f.empty.median()), micros(f.unmount.median()))
	})
	must(b, first.unpublish())
}

// BenchmarkLayers compares what 390 layers more cost with what they cost the kernel.
func BenchmarkLayers(b *testing.B) {
	p, d, t := plugin(b), newDirect(b, node(b)), onNode(b, node(b))
	few, many := newVolume(b, p, "few", nodes.Numbered(10)), newVolume(b, p, "many", nodes.Numbered(400))
	pulled(b, few, many)
	measure(b, "publish of 390 layers more", func() (float64, string) {
		few := takeFurther(b, p, d, t, nodes.Numbered(10), 50)
		many := takeFurther(b, p, d, t, nodes.Numbered(400), 50)
		ours, kernels := many.publish.median()-few.publish.median(), many.mount.median()-few.mount.median()
		return ratio(ours, kernels), fmt.Sprintf("%s more, bare mount %s more", micros(ours), micros(kernels))
	})
	must(b, few.unpublish())
	must(b, many.unpublish())
}

// pulled publishes volumes whose images may have to be pulled, for which the kubelet would come again.
func pulled(b *testing.B, volumes ...volume) {
	b.Helper()
	for _, v := range volumes {
		poll.Until(b, "publish "+v.target, 5*time.Minute, v.publish)
	}
}

// BenchmarkFirstVolume publishes images that are on the node and in use by no volume: such as were in use before, and
// such as the process has never seen.
func BenchmarkFirstVolume(b *testing.B) {
	p, d := plugin(b, "--"+contract.FlagReleaseAfter+"=100ms"), newDirect(b, node(b))
	t := onNode(b, p.Target)
	var volumes []volume
	var tops []string
	for i := range variants {
		volumes = append(volumes, newVolume(b, p, fmt.Sprint("variant-", i), variant(i)))
		pulled(b, volumes[i])
		top, err := d.top(b.Context(), variant(i))
		must(b, err)
		tops = append(tops, top)
	}
	release(b, p, volumes)
	at := place(b, p.Target, "bare")
	first := func(before func()) (float64, string) {
		var publishes, directs samples
		for range 3 {
			before()
			for i, v := range volumes {
				directs = append(directs, directVolume(b, t, d, tops[i], at))
				must(b, publishes.time(v.publish))
			}
			release(b, p, volumes)
		}
		return ratio(publishes.median(), directs.median()),
			fmt.Sprintf("p50 %s; lease, View and bare mount %s", micros(publishes.median()), micros(directs.median()))
	}
	measure(b, "first publish of an image on the node", func() (float64, string) { return first(func() {}) })
	measure(b, "first publish by a new node plugin", func() (float64, string) {
		return first(func() {
			p.Stop(b, syscall.SIGTERM)
			p.Start(b)
			must(b, empty(p)) // so that both have their connections
		})
	})
}

// directVolume is how long it takes to show an image without the node plugin.
func directVolume(b *testing.B, t thread, d direct, top, at string) time.Duration {
	b.Helper()
	var layers []string
	var pin, mount, unmount samples
	must(b, pin.time(func() (err error) {
		layers, err = d.pin(b.Context(), "bench-direct", top)
		return err
	}))
	must(b, newBare(layers, at).pair(t, &mount, &unmount))
	must(b, d.unpin(b.Context(), "bench-direct"))
	return pin[0] + mount[0]
}

// release unpublishes volumes and waits until nothing of them is pinned any more.
func release(b *testing.B, p *nodes.Plugin, volumes []volume) {
	b.Helper()
	for _, v := range volumes {
		must(b, v.unpublish())
	}
	poll.Until(b, "release of the images", time.Minute, func() error {
		if pins := p.Target.Pins(b, p.Driver); len(pins) > 0 {
			return fmt.Errorf("%d are pinned", len(pins))
		}
		return nil
	})
}

// BenchmarkWrittenVolume compares the end of a volume in which the pod has written much with what the kernel alone takes to
// unmount another one of the kind: it drops what it holds of every file.
func BenchmarkWrittenVolume(b *testing.B) {
	const files, rounds = 20000, 3
	p := plugin(b)
	t := onNode(b, p.Target)
	image := nodes.Numbered(10)
	other, written := newVolume(b, p, "other", image).writable(), newVolume(b, p, "written", image).writable()
	pulled(b, other, written)
	must(b, other.unpublish())
	must(b, written.unpublish())
	measure(b, "unpublish of a volume with 20000 files", func() (float64, string) {
		var unmounts, ends samples
		for range rounds {
			for _, v := range []volume{other, written} {
				must(b, v.publish())
				must(b, writeFiles(filepath.Join(p.Target.Root(), v.target), files))
			}
			unix.Sync() // the unmount of a writable overlay does, and what other programs wrote would count
			must(b, t.run(func() error { return unmounts.time(bare{target: other.target}.unmount) }))
			must(b, ends.time(written.unpublish))
			must(b, other.unpublish())
			noData(b, p)
		}
		return ratio(ends.median(), unmounts.median()), fmt.Sprintf("p50 %s; bare unmount %s", micros(ends.median()), micros(unmounts.median()))
	})
}

// writeFiles makes that many files in a directory, in directories of 100.
func writeFiles(dir string, files int) error {
	for i := range files {
		at := filepath.Join(dir, fmt.Sprint("dir-", i/100))
		if i%100 == 0 {
			if err := os.Mkdir(at, 0o755); err != nil {
				return err
			}
		}
		if err := os.WriteFile(filepath.Join(at, fmt.Sprint(i)), []byte("x"), 0o600); err != nil {
			return err
		}
	}
	return nil
}

// noData waits until the node plugin has removed what was in its volumes.
func noData(b *testing.B, p *nodes.Plugin) {
	b.Helper()
	poll.Until(b, "removal of the data", time.Minute, func() error {
		left, err := filepath.Glob(filepath.Join(p.Target.Root(), nodes.KubeletRoot, contract.PluginsDir, p.Driver, "volumes/*"))
		if err == nil && len(left) > 0 {
			return fmt.Errorf("left: %q", left)
		}
		return err
	})
}
