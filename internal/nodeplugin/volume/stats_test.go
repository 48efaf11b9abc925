package volume

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/image-csi/image-csi-operator/internal/nodeplugin/hostmount"
	"github.com/image-csi/image-csi-operator/internal/nodeplugin/volume/volumetest"
)

func TestAReadOnlyVolumeIsAsLargeAsItsImage(t *testing.T) {
	w, root := newWorld(), t.TempDir()
	n, r := w.node(t, root), request(t, root, "a", false)
	if err := n.Publish(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	w.Faults["size"] = 1
	if stats, err := n.Stats(t.Context(), r.VolumeID, r.Target); !errors.Is(err, volumetest.ErrInjected) {
		t.Errorf("%+v, %v while the runtime does not answer", stats, err)
	}
	for range 3 {
		stats, err := n.Stats(t.Context(), r.VolumeID, r.Target)
		want := Stats{Bytes: hostmount.Capacity{Total: 3 << 20, Used: 3 << 20}, Inodes: hostmount.Capacity{Total: 40, Used: 40}}
		if err != nil || stats != want {
			t.Errorf("%+v, %v", stats, err)
		}
	}
	if asked := strings.Count(strings.Join(w.Calls, " "), "size"); asked != 2 {
		t.Errorf("asked %d times for a size that never changes", asked)
	}
}

func TestUsageCountsEachVolumeOnce(t *testing.T) {
	w, root := newWorld(), t.TempDir()
	n := w.node(t, root)
	for name, writable := range map[string]bool{"a": false, "b": false, "c": true} {
		if err := n.Publish(t.Context(), request(t, root, name, writable)); err != nil {
			t.Fatal(err)
		}
	}
	for target, mount := range maps.Clone(w.Mounted) {
		again := mount // as a node plugin on CRI-O sees it beneath its own root
		again.Target = "/var/lib/containers/storage/overlay/0/merged" + target
		w.Mounted[again.Target] = again
		part := mount // a container's subPath
		part.Target, part.Root = target+"-subpath", "/etc"
		w.Mounted[part.Target] = part
	}
	usage, err := n.Usage(t.Context())
	if err != nil || usage.ReadOnly != 2 || usage.Writable != 1 {
		t.Errorf("%+v, %v", usage, err)
	}
}

func TestAWritableVolumeUsesWhatThePodWrote(t *testing.T) {
	w, root := newWorld(), t.TempDir()
	n, r := w.node(t, root), request(t, root, "a", true)
	if err := n.Publish(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	before, err := n.Stats(t.Context(), r.VolumeID, r.Target)
	if err != nil {
		t.Fatal(err)
	}
	upper := n.data.directory(r.VolumeID, r.Target).upper()
	file := filepath.Join(upper, "dir", "file")
	if err := errors.Join(
		os.Mkdir(filepath.Dir(file), 0o755),
		os.WriteFile(file, make([]byte, 1<<20), 0o644),
		os.Link(file, file+"-again"),
	); err != nil {
		t.Fatal(err)
	}
	after, err := n.Stats(t.Context(), r.VolumeID, r.Target)
	if err != nil {
		t.Fatal(err)
	}
	if grown := after.Bytes.Used - before.Bytes.Used; grown < 1<<20 || grown > 1<<20+64<<10 {
		t.Errorf("1 MiB written twice under two names: %d bytes more", grown)
	}
	if grown := after.Inodes.Used - before.Inodes.Used; before.Inodes.Used != 1 || grown != 2 {
		t.Errorf("inodes %d, then %d; want one, and a directory and a file more", before.Inodes.Used, after.Inodes.Used)
	}
	if after.Bytes.Total != 1<<30 || after.Bytes.Available != 1<<28 {
		t.Errorf("without a limit the file system is the limit: %+v", after.Bytes)
	}
}

func TestHealthSaysWhyAVolumeLooksEmpty(t *testing.T) {
	w, root := newWorld(), t.TempDir()
	n, r := w.node(t, root), request(t, root, "a", false)
	if _, err := n.Health(t.Context(), r.VolumeID, r.Target); !errors.Is(err, ErrNotPublished) {
		t.Errorf("before it is published: %v", err)
	}
	if err := errors.Join(n.Publish(t.Context(), r), os.MkdirAll(r.Target, 0o755)); err != nil {
		t.Fatal(err)
	}
	check := func(reason, words string) {
		t.Helper()
		problem, err := n.Health(t.Context(), r.VolumeID, r.Target)
		switch {
		case err != nil:
			t.Error(err)
		case problem == nil:
			if reason != "" {
				t.Errorf("no problem, want %s", reason)
			}
		case problem.Reason != reason || !strings.Contains(problem.Message, words):
			t.Errorf("problem %+v", problem)
		}
	}
	check("", "")
	w.Gone[r.Target] = true
	check("LayersRemoved", "Layers of the volume's image were removed")
	delete(w.Mounted, r.Target)
	check("NotMounted", "Nothing is mounted")
	if _, err := n.Stats(t.Context(), r.VolumeID, r.Target); !errors.Is(err, ErrNotPublished) {
		t.Errorf("statistics of what is not mounted: %v", err)
	}
}
