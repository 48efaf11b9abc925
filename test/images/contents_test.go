package images

import (
	"archive/tar"
	"context"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/image-csi/image-csi-operator/hack/cluster"
	"github.com/image-csi/image-csi-operator/hack/cluster/image"
	"github.com/image-csi/image-csi-operator/test/internal/nodes"
)

// content is one thing that an image can hold. It has a directory of its own, named after it.
type content struct {
	name         string
	lower, upper []image.File // in the lower and in the upper layer; paths are below the directory

	// check looks at the directory; change writes in it, in a writable volume, and looks at what came of it.
	check  func(t *testing.T, dir string)
	change func(t *testing.T, dir string)
}

// capability is the value of security.capability that gives a program cap_net_raw (struct vfs_cap_data, revision 2).
const capability = "\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"

// oddNames are file names that mean something in mount options, in mount tables or in shells.
var oddNames = []string{
	"colon:comma,", `back\slash`, `octal\040`, "new\nline", "tab\tspace ", `"quotes'`, "-dash", "…", "%s%n",
	strings.Repeat("n", 254),
}

// epoch is the time of everything in an image that the tests make.
var epoch = time.Unix(0, 0)

var deepPath = strings.Repeat(strings.Repeat("d", 200)+"/", 15) + "file"

var contents = []content{
	{
		name:  "whiteouts",
		lower: []image.File{{Path: "gone", Content: []byte("1")}, {Path: "gone-dir/sub/file", Content: []byte("1")}, {Path: "kept", Content: []byte("1")}},
		upper: []image.File{image.Whiteout("gone"), image.Whiteout("gone-dir")},
		check: func(t *testing.T, dir string) { wantNames(t, dir, "kept") },
		change: func(t *testing.T, dir string) {
			must(t, os.Mkdir(filepath.Join(dir, "gone-dir"), 0o755))
			wantNames(t, filepath.Join(dir, "gone-dir"))
			must(t, os.Remove(filepath.Join(dir, "kept")))
			wantNames(t, dir, "gone-dir")
		},
	},
	{
		name:  "opaque",
		lower: []image.File{{Path: "dir/old", Content: []byte("1")}, {Path: "dir/sub/old", Content: []byte("1")}},
		upper: []image.File{image.Opaque("dir"), {Path: "dir/new", Content: []byte("2")}},
		check: func(t *testing.T, dir string) { wantNames(t, filepath.Join(dir, "dir"), "new") },
		change: func(t *testing.T, dir string) {
			must(t, os.RemoveAll(filepath.Join(dir, "dir")))
			must(t, os.Mkdir(filepath.Join(dir, "dir"), 0o755))
			wantNames(t, filepath.Join(dir, "dir"))
		},
	},
	{
		name:  "replaced",
		lower: []image.File{{Path: "file", Content: []byte("1")}, {Path: "dir/file", Content: []byte("1")}},
		upper: []image.File{{Path: "file/inside", Content: []byte("2")}, {Path: "dir", Content: []byte("2")}},
		check: func(t *testing.T, dir string) {
			wantNames(t, filepath.Join(dir, "file"), "inside")
			wantContent(t, filepath.Join(dir, "dir"), "2")
		},
	},
	{
		name: "xattrs",
		lower: []image.File{
			{Path: "file", Content: []byte("1"), Xattrs: map[string]string{"user.test": "a\x00b", "user.empty.not": "1"}},
			{Path: "program", Content: []byte("#!"), Mode: 0o755, Xattrs: map[string]string{"security.capability": capability}},
		},
		check: checkXattrs,
		change: func(t *testing.T, dir string) {
			for _, name := range []string{"file", "program"} { // a change of time copies them up and changes nothing
				must(t, os.Chtimes(filepath.Join(dir, name), epoch, epoch))
			}
			checkXattrs(t, dir)
		},
	},
	{
		name:  "hard-links",
		lower: []image.File{{Path: "one", Content: []byte("1"), Mode: 0o640}, {Path: "other/two", HardLink: "hard-links/one"}},
		check: func(t *testing.T, dir string) {
			one, two := stat(t, dir, "one"), stat(t, dir, "other/two")
			if one.Ino != two.Ino || one.Nlink != 2 {
				t.Errorf("inodes %d and %d, %d names; want one of two", one.Ino, two.Ino, one.Nlink)
			}
			wantContent(t, filepath.Join(dir, "other/two"), "1")
		},
		change: func(t *testing.T, dir string) {
			must(t, os.WriteFile(filepath.Join(dir, "one"), []byte("mine"), 0o640))
			wantContent(t, filepath.Join(dir, "one"), "mine")
			// The kernel breaks the link when it copies a file up (overlayfs.rst, "Non-standard behavior").
			wantContent(t, filepath.Join(dir, "other/two"), "1")
		},
	},
	{
		name: "devices",
		lower: []image.File{
			{Path: "null", Mode: 0o666, Device: &image.Device{Type: tar.TypeChar, Major: 1, Minor: 3}},
			{Path: "block", Mode: 0o600, Device: &image.Device{Type: tar.TypeBlock, Major: 7, Minor: 200}},
			{Path: "pipe", Mode: 0o600, Device: &image.Device{Type: tar.TypeFifo}},
		},
		check: checkDevices,
		change: func(t *testing.T, dir string) {
			for _, name := range []string{"null", "block", "pipe"} {
				must(t, os.Chown(filepath.Join(dir, name), 1000, 1000))
			}
			checkDevices(t, dir)
			if got := stat(t, dir, "null"); got.Uid != 1000 {
				t.Errorf("the device belongs to %d", got.Uid)
			}
		},
	},
	{
		name: "owners",
		lower: []image.File{
			{Path: "set-uid", Content: []byte("1"), Mode: 0o4755, UID: 1000, GID: 2000},
			{Path: "large", Content: []byte("1"), Mode: 0o600, UID: 1 << 31, GID: 1<<32 - 2},
			{Path: "sticky", Directory: true, Mode: 0o1777, UID: 5},
		},
		check: checkOwners,
		change: func(t *testing.T, dir string) {
			for _, name := range []string{"set-uid", "large", "sticky"} {
				must(t, os.Chtimes(filepath.Join(dir, name), epoch, epoch))
			}
			checkOwners(t, dir)
		},
	},
	{
		name:  "names",
		lower: append(oddFiles(), image.File{Path: deepPath, Content: []byte("deep")}),
		check: checkNames,
		change: func(t *testing.T, dir string) {
			for _, name := range oddNames {
				file := filepath.Join(dir, name, name)
				must(t, os.WriteFile(file, []byte("mine"), 0o644))
				wantContent(t, file, "mine")
				must(t, os.Rename(file, filepath.Join(dir, name, "other")))
			}
		},
	},
	{
		name: "links-out",
		lower: []image.File{
			{Path: "absolute", Link: "/etc/passwd"}, {Path: "relative", Link: "../../../../../../../../etc"},
			{Path: "dangling", Link: "nowhere"}, {Path: "loop", Link: "loop"}, {Path: "long", Link: strings.Repeat("l/", 2000) + "l"},
		},
		check: checkLinks,
		change: func(t *testing.T, dir string) {
			for _, name := range []string{"absolute", "relative", "dangling", "loop", "long"} {
				must(t, os.Lchown(filepath.Join(dir, name), 1000, 1000))
			}
			checkLinks(t, dir)
		},
	},
	{
		name:  "zeros",
		lower: []image.File{{Path: "file", Content: append(make([]byte, 8<<20), "end"...)}},
		check: func(t *testing.T, dir string) { checkEnd(t, filepath.Join(dir, "file"), 8<<20) },
		change: func(t *testing.T, dir string) {
			file := filepath.Join(dir, "file")
			must(t, os.Chmod(file, 0o600))
			checkEnd(t, file, 8<<20)
			must(t, os.Truncate(file, 1<<40)) // sparse from here on
			if size := stat(t, dir, "file"); size.Size != 1<<40 || size.Blocks*512 > 16<<20 {
				t.Errorf("%d bytes, %d on disk", size.Size, size.Blocks*512)
			}
		},
	},
}

const contentsImage = "registry.example/test/contents:1"

func pushContents(ctx context.Context, c *cluster.Cluster) error {
	var layers [2][]image.File
	for _, content := range contents {
		for i, files := range [][]image.File{content.lower, content.upper} {
			for _, file := range files {
				file.Path = path.Join(content.name, file.Path)
				layers[i] = append(layers[i], file)
			}
		}
	}
	made, err := image.Data(layers[:]...)
	if err != nil {
		return err
	}
	return c.Push(ctx, "test/contents:1", made)
}

func TestEveryKindOfContentIsShownAndCopiedUpAsItIs(t *testing.T) {
	suite.OnEveryNode(t, func(t *testing.T, p *nodes.Plugin) {
		both(t, p, contentsImage, func(t *testing.T, path string, writable bool) {
			for _, content := range contents {
				t.Run(content.name, func(t *testing.T) {
					dir := filepath.Join(path, content.name)
					content.check(t, dir)
					if writable && content.change != nil {
						content.change(t, dir)
					}
				})
			}
		})
	})
}

func oddFiles() []image.File {
	var files []image.File
	for _, name := range oddNames {
		files = append(files, image.File{Path: name + "/" + name, Content: []byte(name)})
	}
	return files
}

func checkNames(t *testing.T, dir string) {
	t.Helper()
	wantNames(t, dir, append([]string{strings.Repeat("d", 200)}, oddNames...)...)
	for _, name := range oddNames {
		wantContent(t, filepath.Join(dir, name, name), name)
	}
	// The node's root makes the path longer than a system call takes.
	at, err := unix.Open(dir, unix.O_PATH|unix.O_CLOEXEC, 0)
	must(t, err)
	defer unix.Close(at)
	file, err := unix.Openat(at, deepPath, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	must(t, err)
	defer unix.Close(file)
	content := make([]byte, 10)
	if n, err := unix.Read(file, content); err != nil || string(content[:n]) != "deep" {
		t.Errorf("the file at the end of a long path holds %q (%v)", content[:max(n, 0)], err)
	}
}

func checkXattrs(t *testing.T, dir string) {
	t.Helper()
	for _, want := range []struct{ name, key, value string }{
		{"file", "user.test", "a\x00b"}, {"file", "user.empty.not", "1"}, {"program", "security.capability", capability},
	} {
		value := make([]byte, 100)
		n, err := unix.Lgetxattr(filepath.Join(dir, want.name), want.key, value)
		if err != nil || string(value[:n]) != want.value {
			t.Errorf("%s of %s is %q (%v), want %q", want.key, want.name, value[:max(n, 0)], err, want.value)
		}
	}
}

func checkDevices(t *testing.T, dir string) {
	t.Helper()
	for name, want := range map[string]struct {
		kind   uint32
		device uint64
	}{"null": {unix.S_IFCHR, unix.Mkdev(1, 3)}, "block": {unix.S_IFBLK, unix.Mkdev(7, 200)}, "pipe": {unix.S_IFIFO, 0}} {
		if got := stat(t, dir, name); got.Mode&unix.S_IFMT != want.kind || got.Rdev != want.device {
			t.Errorf("%s: mode %o, device %x", name, got.Mode, got.Rdev)
		}
	}
	// Volumes are mounted nodev.
	if _, err := os.ReadFile(filepath.Join(dir, "null")); !os.IsPermission(err) {
		t.Errorf("opening a device of an image gives %v, want a refusal", err)
	}
}

func checkOwners(t *testing.T, dir string) {
	t.Helper()
	for name, want := range map[string]struct{ mode, uid, gid uint32 }{
		"set-uid": {unix.S_IFREG | 0o4755, 1000, 2000},
		"large":   {unix.S_IFREG | 0o600, 1 << 31, 1<<32 - 2},
		"sticky":  {unix.S_IFDIR | 0o1777, 5, 0},
	} {
		if got := stat(t, dir, name); got.Mode != want.mode || got.Uid != want.uid || got.Gid != want.gid {
			t.Errorf("%s: mode %o, owner %d:%d", name, got.Mode, got.Uid, got.Gid)
		}
	}
}

func checkLinks(t *testing.T, dir string) {
	t.Helper()
	for name, want := range map[string]string{
		"absolute": "/etc/passwd", "relative": "../../../../../../../../etc", "dangling": "nowhere", "loop": "loop",
		"long": strings.Repeat("l/", 2000) + "l",
	} {
		if got, err := os.Readlink(filepath.Join(dir, name)); err != nil || got != want {
			t.Errorf("%s leads to %.50q (%v), want %.50q", name, got, err, want)
		}
	}
}

// checkEnd wants a file that holds zeros and then "end".
func checkEnd(t *testing.T, path string, zeros int64) {
	t.Helper()
	file, err := os.Open(path)
	must(t, err)
	defer file.Close()
	if info, err := file.Stat(); err != nil || info.Size() != zeros+3 {
		t.Errorf("%s: %v (%v), want %d bytes", path, info.Size(), err, zeros+3)
	}
	end := make([]byte, 4)
	if _, err := file.ReadAt(end, zeros-1); err != nil || string(end) != "\x00end" {
		t.Errorf("%s ends with %q (%v)", path, end, err)
	}
}

func wantNames(t *testing.T, dir string, want ...string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	must(t, err)
	var names []string
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	slices.Sort(want)
	if !slices.Equal(names, want) {
		t.Errorf("%s holds %.200q, want %.200q", filepath.Base(dir), names, want)
	}
}

func wantContent(t *testing.T, path, want string) {
	t.Helper()
	if got, err := os.ReadFile(path); err != nil || string(got) != want {
		t.Errorf("%.60q holds %q (%v), want %q", filepath.Base(path), got, err, want)
	}
}

func stat(t *testing.T, path ...string) *syscall.Stat_t {
	t.Helper()
	info, err := os.Lstat(filepath.Join(path...))
	if err != nil {
		t.Fatal(err)
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		t.Fatal(fmt.Errorf("no stat of %s", info.Name()))
	}
	return stat
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
