package bench

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/image-csi/image-csi-operator/internal/nodeplugin/hostmount"
	"github.com/image-csi/image-csi-operator/test/internal/nodes"
)

// engine is a mount engine in this process that mounts on the node.
func engine(b *testing.B, target *nodes.Target) *hostmount.Engine {
	b.Helper()
	e, err := hostmount.Open(b.Context(), hostmount.Config{
		NamespaceDir: fmt.Sprintf("/proc/%d/ns", target.Node.PID()),
		Root:         nodes.KubeletRoot,
	})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := e.Close(); err != nil {
			b.Error(err)
		}
	})
	return e
}

// layers makes n layer directories on the node, named as containerd's are.
func layers(b *testing.B, target *nodes.Target, n int) []string {
	b.Helper()
	dirs := make([]string, 0, n)
	for i := range n {
		dir := filepath.Join("/var/lib/bench/io.containerd.snapshotter.v1.overlayfs/snapshots", fmt.Sprint(n+i), "fs")
		if err := os.MkdirAll(filepath.Join(target.Root(), dir), 0o755); err != nil {
			b.Fatal(err)
		}
		dirs = append(dirs, dir)
	}
	return dirs
}

// place is a target on the node whose parent exists, as the kubelet sees to it.
func place(b *testing.B, target *nodes.Target, name string) string {
	b.Helper()
	parent := filepath.Join(nodes.KubeletRoot, "pods", "pod-"+name, "volumes/kubernetes.io~csi/image")
	if err := os.MkdirAll(filepath.Join(target.Root(), parent), 0o755); err != nil {
		b.Fatal(err)
	}
	return filepath.Join(parent, "mount")
}

func overlay(layers []string, target string) hostmount.Overlay {
	return hostmount.Overlay{Source: "bench", Layers: layers, Target: target}
}

// BenchmarkEngineOneCaller compares mounts by the engine with bare ones, in turn.
func BenchmarkEngineOneCaller(b *testing.B) {
	target := node(b)
	e, t := engine(b, target), onNode(b, target)
	at := place(b, target, "engine")
	for _, n := range []int{10, 400} {
		dirs := layers(b, target, n)
		measure(b, fmt.Sprintf("mount by the engine, %d layers", n), func() (float64, string) {
			bares, engines := mountsInTurn(b, t, e, dirs, at)
			return ratio(engines.median(), bares.median()),
				fmt.Sprintf("p50 %s, bare %s", micros(engines.median()), micros(bares.median()))
		})
	}
}

func mountsInTurn(b *testing.B, t thread, e *hostmount.Engine, dirs []string, at string) (bares, engines samples) {
	b.Helper()
	const times = 300
	bare := newBare(dirs, at)
	for range times {
		var unmounts samples
		must(b, bare.pair(t, &bares, &unmounts))
		must(b, engines.time(func() error { return e.MountOverlay(context.Background(), overlay(dirs, at)) }))
		must(b, e.Unmount(context.Background(), at))
	}
	return bares, engines
}

// BenchmarkEngineManyCallers compares how many volumes are mounted and unmounted in a time.
func BenchmarkEngineManyCallers(b *testing.B) {
	const callers, times, rounds = 32, 20, 9
	target := node(b)
	e := engine(b, target)
	dirs := layers(b, target, 10)
	places := make([]string, 0, callers)
	for caller := range callers {
		places = append(places, place(b, target, fmt.Sprint("engine-", caller)))
	}
	repeat := func(pair func() error) error {
		for range times {
			if err := pair(); err != nil {
				return err
			}
		}
		return nil
	}
	measure(b, "throughput of the engine, 32 callers", func() (float64, string) {
		var bares, engines samples
		for range rounds {
			bares = append(bares, onThreads(b, target, callers, func(caller int) error {
				m := newBare(dirs, places[caller])
				return repeat(func() error {
					if err := m.mount(); err != nil {
						return err
					}
					return m.unmount()
				})
			}))
			engines = append(engines, together(b, callers, func() error { return nil }, func(caller int) error {
				return repeat(func() error {
					if err := e.MountOverlay(context.Background(), overlay(dirs, places[caller])); err != nil {
						return err
					}
					return e.Unmount(context.Background(), places[caller])
				})
			}))
		}
		pairs := func(s samples) float64 { return callers * times / s.median().Seconds() }
		return pairs(engines) / pairs(bares),
			fmt.Sprintf("%.0f mounts and unmounts a second, bare %.0f", pairs(engines), pairs(bares))
	})
}
