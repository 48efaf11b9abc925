package containerd

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/core/mount"
	"github.com/opencontainers/go-digest"

	"github.com/image-csi/image-csi-operator/internal/nodeplugin/imagestore"
)

func TestMountsThatAreStacksOfDirectories(t *testing.T) {
	for name, c := range map[string]struct {
		mount mount.Mount
		want  []string
	}{
		"one layer": {mount.Mount{Type: "bind", Source: "/c/1/fs", Options: []string{"ro", "rbind"}}, []string{"/c/1/fs"}},
		"overlay": {mount.Mount{Type: "overlay", Source: "overlay", Options: []string{"index=off", "lowerdir=/c/2/fs:/c/1/fs"}},
			[]string{"/c/2/fs", "/c/1/fs"}},
		"volatile": {mount.Mount{Type: "overlay", Options: []string{"lowerdir=/a", "volatile", "metacopy=off"}}, []string{"/a"}},
	} {
		got, err := layerDirs("s", []mount.Mount{c.mount})
		if err != nil || !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}

func TestMountsThatAreNotAreRefused(t *testing.T) {
	overlay := func(options ...string) []mount.Mount { return []mount.Mount{{Type: "overlay", Options: options}} }
	for name, mounts := range map[string][]mount.Mount{
		"none":               nil,
		"two":                append(overlay("lowerdir=/a"), overlay("lowerdir=/b")...),
		"erofs":              {{Type: "erofs", Source: "/layer.erofs", Options: []string{"ro", "loop"}}},
		"formatted":          {{Type: "format/overlay", Options: []string{"lowerdir={{ overlay 0 1 }}"}}},
		"writable":           overlay("lowerdir=/a", "upperdir=/u", "workdir=/w"),
		"idmapped":           overlay("lowerdir=/a", "uidmap=0:1000:1"),
		"user xattrs":        overlay("lowerdir=/a", "userxattr"),
		"extension":          overlay("lowerdir=/a", "X-containerd.verity=x"),
		"no layers":          overlay("ro"),
		"empty list":         overlay("lowerdir="),
		"a relative layer":   overlay("lowerdir=/a:b"),
		"data-only layers":   overlay("lowerdir=/a::/data"),
		"bind with mappings": {{Type: "bind", Source: "/a", Options: []string{"ro", "uidmap=0:1000:1"}}},
		"relative bind":      {{Type: "bind", Source: "a"}},
		"501 layers":         overlay("lowerdir=" + strings.TrimSuffix(strings.Repeat("/a:", 501), ":")),
	} {
		if got, err := layerDirs("s", mounts); !errors.Is(err, imagestore.ErrUnsupported) {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}

func FuzzLayerDirs(f *testing.F) {
	f.Add("overlay", "", "lowerdir=/a:/b", "index=off")
	f.Add("bind", "/a", "ro", "rbind")
	f.Fuzz(func(t *testing.T, kind, source, first, second string) {
		layers, err := layerDirs("s", []mount.Mount{{Type: kind, Source: source, Options: []string{first, second}}})
		if err != nil {
			if !errors.Is(err, imagestore.ErrUnsupported) {
				t.Errorf("untyped error %v", err)
			}
			return
		}
		for _, layer := range layers {
			if !strings.HasPrefix(layer, "/") {
				t.Errorf("layer %q", layer)
			}
		}
	})
}

func TestALockIsWaitedForNoLongerThanTheContext(t *testing.T) {
	var l keyedLock
	unlock, err := l.lock(context.Background(), "a")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
	defer cancel()
	if _, err := l.lock(ctx, "a"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	other, err := l.lock(ctx, "b")
	if err != nil {
		t.Errorf("another key: %v", err)
	}
	other()
	unlock()
	if again, err := l.lock(context.Background(), "a"); err != nil {
		t.Error(err)
	} else {
		again()
	}
	if len(l.held) != 0 {
		t.Errorf("%d keys stay", len(l.held))
	}
}

func parse(t *testing.T, tree string) digest.Digest {
	t.Helper()
	d, err := digest.Parse(tree)
	if err != nil {
		t.Fatal(err)
	}
	return d
}
