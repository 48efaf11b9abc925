package hostmount

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const overlayLine = `61 29 0:52 / /var/lib/kubelet/pods/a\040b/mount ro,nosuid,nodev shared:7 - overlay ` +
	`imagecsi:d@sha256:0\134\0431 ro,lowerdir=%s` + "\n"

func TestMountTableOfLongLines(t *testing.T) {
	// 500 layers with long names make lines beyond the parser's 64 KiB.
	layers := strings.TrimSuffix(strings.Repeat("/"+strings.Repeat("l", 200)+":", 500), ":")
	table := fmt.Sprintf(overlayLine, layers) + strings.Repeat(fmt.Sprintf(overlayLine, "a:b"), 2) +
		strings.TrimSuffix(fmt.Sprintf(overlayLine, layers), "\n")
	mounts, err := parseMounts(strings.NewReader(table))
	if err != nil || len(mounts) != 4 {
		t.Fatalf("%d mounts, %v", len(mounts), err)
	}
	for _, m := range mounts {
		want := Mount{Target: "/var/lib/kubelet/pods/a b/mount", Source: `imagecsi:d@sha256:0\#1`, FSType: "overlay",
			Root: "/", ReadOnly: true, Shared: true, id: 61, parent: 29, device: 52}
		if m != want {
			t.Errorf("%+v", m)
		}
	}
}

func TestLinesAroundTheLimit(t *testing.T) {
	for n := maxLine - 200; n < maxLine+200; n++ {
		table := strings.Repeat(fmt.Sprintf(overlayLine, strings.Repeat("x", n)), 2)
		if mounts, err := parseMounts(strings.NewReader(table)); err != nil || len(mounts) != 2 {
			t.Fatalf("%d bytes: %d mounts, %v", n, len(mounts), err)
		}
	}
}

func TestTheTopmostMountIsTheOneWithoutAChild(t *testing.T) {
	table := []Mount{
		{Target: "/t", Source: "top", id: 30, parent: 40},
		{Target: "/t", Source: "bottom", id: 50, parent: 1},
		{Target: "/t/sub", id: 60, parent: 30},
		{Target: "/t", Source: "middle", id: 40, parent: 50},
	}
	if m := topmost(table, "/t"); m == nil || m.Source != "top" {
		t.Errorf("%+v", m)
	}
	if m := topmost(table, "/none"); m != nil {
		t.Errorf("%+v", m)
	}
}

func TestMountsOfManyLongOverlays(t *testing.T) {
	eachPath(t, func(t *testing.T, f *fixture) {
		layers := f.layers(t, 500)
		for i := range 3 {
			o := f.overlay(t, layers...)
			o.Target = filepath.Join(f.root, fmt.Sprint("pods/", i))
			if err := f.MountOverlay(deadline(t), o); err != nil {
				t.Fatal(err)
			}
			if here := f.at(t, o.Target); len(here) != 1 || here[0].Source != o.Source {
				t.Errorf("%+v", here)
			}
		}
	})
}

func TestTargetsAreToldAsTheRootIsConfigured(t *testing.T) {
	f := newFixture(t)
	link := filepath.Join(t.TempDir(), "kubelet")
	if err := os.Symlink(f.root, link); err != nil {
		t.Fatal(err)
	}
	config := f.config
	config.Root = link
	e, err := Open(deadline(t), config)
	if err != nil {
		t.Fatal(err)
	}
	linked := &fixture{Engine: e, root: link}
	t.Cleanup(func() { _ = e.Close() })
	o := f.overlay(t, f.layers(t, 2)...)
	o.Target = filepath.Join(link, "pods/x")
	for range 2 {
		if err := e.MountOverlay(deadline(t), o); err != nil {
			t.Fatal(err)
		}
	}
	if here := linked.at(t, o.Target); len(here) != 1 {
		t.Errorf("%+v", here)
	}
	if err := e.Unmount(deadline(t), o.Target); err != nil {
		t.Error(err)
	}
}

func FuzzMountTable(f *testing.F) {
	f.Add([]byte(fmt.Sprintf(overlayLine, "a:b")))
	f.Add([]byte("1 2 3:4 / / rw - t s rw\n"))
	f.Add([]byte("\n\n"))
	f.Add([]byte(strings.Repeat("x", maxLine+1)))
	f.Fuzz(func(t *testing.T, table []byte) {
		once, err := parseMounts(strings.NewReader(string(table)))
		if err != nil {
			return
		}
		if lines := strings.Count(string(table), "\n") + 1; len(once) > lines {
			t.Errorf("%d mounts from %d lines", len(once), lines)
		}
	})
}
