package hostmount

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// paths by which overlays can be attached; the tests take both where the kernel has both.
var attachPaths = map[string]bool{"lowerdir+": true, "mount(2)": false}

// fixture is an engine with a root of its own and layers to mount.
type fixture struct {
	*Engine
	root string
}

func newFixture(t testing.TB) *fixture {
	t.Helper()
	needMounts(t)
	root := t.TempDir()
	e, err := Open(deadline(t), Config{NamespaceDir: os.Getenv(namespaceEnv), Root: root})
	if err != nil {
		t.Fatal(err)
	}
	f := &fixture{Engine: e, root: root}
	t.Cleanup(func() {
		f.unmountEverything(t)
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	return f
}

// eachPath runs a test for every way of attaching that the kernel has.
func eachPath(t *testing.T, test func(t *testing.T, f *fixture)) {
	for name, appendLayers := range attachPaths {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			if appendLayers && !f.appendLayers {
				t.Skip("this kernel has no lowerdir+")
			}
			f.appendLayers = appendLayers
			test(t, f)
		})
	}
}

func (f *fixture) unmountEverything(t testing.TB) {
	mounts, err := f.Mounts(context.Background())
	if err != nil {
		t.Error(err)
	}
	for _, m := range mounts {
		if isBeneath(f.root, m.Target) {
			_ = f.Unmount(context.Background(), m.Target)
		}
	}
}

// layers makes n layer directories shaped as containerd's. Layer i holds the file "layer-i", and all hold "top",
// which names the layer that shows.
func (f *fixture) layers(t testing.TB, n int) []string {
	t.Helper()
	var layers []string
	for i := n; i > 0; i-- {
		dir := filepath.Join(f.root, "snapshots", fmt.Sprint(1000+i), "fs")
		writeFile(t, filepath.Join(dir, fmt.Sprintf("layer-%d", i)), "x")
		writeFile(t, filepath.Join(dir, "top"), fmt.Sprint(i))
		layers = append(layers, dir)
	}
	return layers
}

// overlay describes a read-only overlay of the given layers on a target that does not exist yet.
func (f *fixture) overlay(t testing.TB, layers ...string) Overlay {
	t.Helper()
	return Overlay{Source: "imagecsi:test@sha256:0", Layers: layers, Empty: f.dir(t, "empty"),
		Target: filepath.Join(f.root, "pods/uid/volumes/kubernetes.io~csi/v/mount")}
}

// writable makes an overlay writable.
func (f *fixture) writable(t testing.TB, o Overlay) Overlay {
	t.Helper()
	o.Upper, o.Work = f.dir(t, "rw/upper"), f.dir(t, "rw/work")
	return o
}

// dir makes a directory beneath the root.
func (f *fixture) dir(t testing.TB, name string) string {
	t.Helper()
	dir := filepath.Join(f.root, name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// at returns the mounts whose target is given.
func (f *fixture) at(t testing.TB, target string) []Mount {
	t.Helper()
	mounts, err := f.Mounts(deadline(t))
	if err != nil {
		t.Fatal(err)
	}
	var here []Mount
	for _, m := range mounts {
		if m.Target == target {
			here = append(here, m)
		}
	}
	return here
}

func writeFile(t testing.TB, name, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func readFile(t testing.TB, name string) string {
	t.Helper()
	content, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

func deadline(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// mountFlags returns the statfs flags of a path.
func mountFlags(t testing.TB, path string) int64 {
	t.Helper()
	var stat unix.Statfs_t
	if err := unix.Statfs(path, &stat); err != nil {
		t.Fatal(err)
	}
	return stat.Flags
}
