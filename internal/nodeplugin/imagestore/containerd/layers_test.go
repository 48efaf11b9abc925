package containerd

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/containerd/containerd/v2/core/mount"
	"github.com/opencontainers/go-digest"

	"github.com/image-csi/image-csi-operator/internal/nodeplugin/hostmount"
	"github.com/image-csi/image-csi-operator/internal/nodeplugin/imagestore"
)

const id = digest.Digest("sha256:0")

// erofs is how containerd's erofs snapshotter shows a layer.
func erofs(source string, options ...string) mount.Mount {
	return mount.Mount{Type: "erofs", Source: source, Options: append([]string{"ro", "loop"}, options...)}
}

func TestMountsThatAreStacksOfLayers(t *testing.T) {
	for name, c := range map[string]struct {
		mounts []mount.Mount
		form   hostmount.Form
		want   []string
	}{
		"one layer": {[]mount.Mount{{Type: "bind", Source: "/c/1/fs", Options: []string{"ro", "rbind"}}}, nil,
			[]string{"/c/1/fs"}},
		"overlay": {[]mount.Mount{{Type: "overlay", Source: "overlay", Options: []string{"index=off", "lowerdir=/c/2/fs:/c/1/fs"}}},
			nil, []string{"/c/2/fs", "/c/1/fs"}},
		"volatile": {[]mount.Mount{{Type: "overlay", Options: []string{"lowerdir=/a", "volatile", "metacopy=off"}}},
			nil, []string{"/a"}},
		"one EROFS layer": {[]mount.Mount{erofs("/1.erofs")}, hostmount.EROFS{}, []string{"/1.erofs"}},
		"EROFS layers": {[]mount.Mount{erofs("/2.erofs"), erofs("/1.erofs"),
			{Type: "format/mkdir/overlay", Options: []string{"lowerdir={{ overlay 0 1 }}"}}}, hostmount.EROFS{}, []string{"/2.erofs", "/1.erofs"}},
	} {
		got, err := treeOf("s", id, c.mounts)
		if err != nil || got.ID != id.String() || got.Form != c.form || !slices.Equal(got.Layers, c.want) {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
}

func TestMountsThatAreNotAreRefused(t *testing.T) {
	overlay := func(options ...string) []mount.Mount { return []mount.Mount{{Type: "overlay", Options: options}} }
	images := func(kind, option string) []mount.Mount {
		return []mount.Mount{erofs("/2.erofs"), erofs("/1.erofs"), {Type: kind, Options: []string{option}}}
	}
	for name, mounts := range map[string][]mount.Mount{
		"none":                 nil,
		"two":                  append(overlay("lowerdir=/a"), overlay("lowerdir=/b")...),
		"formatted":            {{Type: "format/overlay", Options: []string{"lowerdir={{ overlay 0 1 }}"}}},
		"writable":             overlay("lowerdir=/a", "upperdir=/u", "workdir=/w"),
		"idmapped":             overlay("lowerdir=/a", "uidmap=0:1000:1"),
		"user xattrs":          overlay("lowerdir=/a", "userxattr"),
		"extension":            overlay("lowerdir=/a", "X-containerd.verity=x"),
		"no layers":            overlay("ro"),
		"empty list":           overlay("lowerdir="),
		"a relative layer":     overlay("lowerdir=/a:b"),
		"data-only layers":     overlay("lowerdir=/a::/data"),
		"bind with mappings":   {{Type: "bind", Source: "/a", Options: []string{"ro", "uidmap=0:1000:1"}}},
		"relative bind":        {{Type: "bind", Source: "a"}},
		"501 layers":           overlay("lowerdir=" + strings.TrimSuffix(strings.Repeat("/a:", 501), ":")),
		"relative EROFS image": {erofs("1.erofs")},
		"merged EROFS images":  {erofs("/fsmeta.erofs", "device=/1.erofs")},
		"verified EROFS image": {erofs("/1.erofs", "X-containerd.dmverity=/1.dmverity")},
		"EROFS in part":        images("format/mkdir/overlay", "lowerdir={{ overlay 0 0 }}"),
		"EROFS upside down":    images("format/mkdir/overlay", "lowerdir={{ overlay 1 0 }}"),
		"EROFS and a bind":     images("format/bind", "ro"),
		"EROFS, writable":      images("format/mkdir/overlay", "upperdir=/u"),
		"EROFS over ext4":      {erofs("/2.erofs"), {Type: "ext4"}, {Type: "format/overlay", Options: []string{"lowerdir={{ overlay 0 1 }}"}}},
	} {
		if got, err := treeOf("s", id, mounts); !errors.Is(err, imagestore.ErrUnsupported) {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
}

func FuzzTreeOf(f *testing.F) {
	f.Add("overlay", "", "lowerdir=/a:/b", "index=off")
	f.Add("bind", "/a", "ro", "rbind")
	f.Add("erofs", "/a", "ro", "loop")
	f.Fuzz(func(t *testing.T, kind, source, first, second string) {
		tree, err := treeOf("s", id, []mount.Mount{{Type: kind, Source: source, Options: []string{first, second}}})
		if err != nil {
			if !errors.Is(err, imagestore.ErrUnsupported) {
				t.Errorf("untyped error %v", err)
			}
			return
		}
		for _, layer := range tree.Layers {
			if !strings.HasPrefix(layer, "/") {
				t.Errorf("layer %q", layer)
			}
		}
	})
}

func parse(t *testing.T, tree string) digest.Digest {
	t.Helper()
	d, err := digest.Parse(tree)
	if err != nil {
		t.Fatal(err)
	}
	return d
}
