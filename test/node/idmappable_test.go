package node

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/image-csi/image-csi-operator/hack/cluster"
	"github.com/image-csi/image-csi-operator/hack/cluster/image"
	"github.com/image-csi/image-csi-operator/internal/contract"
	"github.com/image-csi/image-csi-operator/test/internal/imagelayers"
	"github.com/image-csi/image-csi-operator/test/internal/nodes"
	"github.com/image-csi/image-csi-operator/test/internal/poll"
)

const (
	mixed     = "registry.example/test/mixed:1"
	twoMiB    = "registry.example/test/mixed:2"
	mixedFile = "mixed-test-file" // of user 1000, in its lowest layer
)

// pushMixed pushes an image whose layers hide, replace and change what lies beneath, in each of the ways that there are.
func pushMixed(ctx context.Context, c *cluster.Cluster) error {
	file := func(path, content string) image.File { return image.File{Path: path, Content: []byte(content)} }
	made, err := image.Data(
		[]image.File{
			{Path: "/home", Directory: true, Mode: 0o750, UID: 1000, GID: 2000},
			{Path: "/home/" + mixedFile, Content: []byte("mine"), Mode: 0o600, UID: 1000, GID: 1000},
			{Path: "/home/again", HardLink: "/home/" + mixedFile, Mode: 0o600, UID: 1000, GID: 1000},
			{Path: "/sticky", Directory: true, Mode: 0o1777},
			{Path: "/setgid", Directory: true, Mode: 0o2755, GID: 2000, Xattrs: map[string]string{"user.note": "kept", "user.empty": ""}},
			{Path: "/setgid/su", Content: []byte("x"), Mode: 0o4755},
			{Path: "/null", Mode: 0o666, Device: &image.Device{Type: tar.TypeChar, Major: 1, Minor: 3}},
			{Path: "/pipe", Mode: 0o622, UID: 1000, Device: &image.Device{Type: tar.TypeFifo}},
			{Path: "/absolute", Link: "/etc/passwd"}, {Path: "/dangling", Link: "../../nowhere"},
			file("/gone/deep/file", "0"), file("/kept/gone", "0"), file("/kept/stays", "0"), file("/kept/changed", "0"),
			file("/opaque/lower", "0"), file("/opaque/both", "0"), file("/opaque/dir/lower", "0"),
			file("/becomes-a-file/inner", "0"), file("/becomes-a-directory", "0"),
			file("/back/lower", "0"),
		},
		[]image.File{
			image.Whiteout("/gone"), image.Whiteout("/kept/gone"), file("/kept/changed", "1"),
			image.Opaque("/opaque"), file("/opaque/both", "1"), file("/opaque/dir/upper", "1"),
			image.Whiteout("/becomes-a-file"), file("/becomes-a-file", "1"),
			image.Whiteout("/becomes-a-directory"), file("/becomes-a-directory/inner", "1"),
			image.Whiteout("/back"),
			file("/"+strings.Repeat("n", 255)+"/"+strings.Repeat("m", 255), "long"),
		},
		[]image.File{
			{Path: "/home", Directory: true, Mode: 0o700, UID: 1000, GID: 1000},
			file("/back/upper", "2"),
			{Path: "/kept", Directory: true, Mode: 0o711, UID: 1000},
		},
	)
	if err != nil {
		return err
	}
	if err := c.Push(ctx, "test/mixed:1", made); err != nil {
		return err
	}
	if made, err = image.Data([]image.File{file("/two-mebibytes", strings.Repeat("x", 2<<20))}); err != nil {
		return err
	}
	return c.Push(ctx, "test/mixed:2", made)
}

// mappable is a read-only volume in the form IDMappable.
func mappable(id, image string, inline bool) nodes.Volume {
	return nodes.Volume{ID: id, Image: image, Inline: inline, ReadOnly: true, Attributes: map[string]string{contract.FormAttribute: string(contract.FormIDMappable)}}
}

// A container runtime maps the users of every volume of a pod with hostUsers: false. (10 s for each node)
func TestTheUsersOfAVolumeInTheFormIDMappableCanBeMapped(t *testing.T) {
	suite.OnEveryNode(t, func(t *testing.T, p *nodes.Plugin) {
		overlay := p.MustPublish(t, nodes.Volume{ID: "overlay", Image: mixed, Inline: true, ReadOnly: true})
		if said := mapped(t, p, "overlay"); !strings.Contains(said, "invalid argument") {
			t.Errorf("an overlay: %s; if kernels can map its users by now, this form is of no use", said)
		}
		layer := layerOf(t, p.Target, mixedFile)
		before := nlink(t, layer)
		want := contentOf(t, overlay)
		for _, inline := range []bool{true, false} {
			id := fmt.Sprintf("mapped-%t", inline)
			path := p.MustPublish(t, mappable(id, mixed, inline))
			if got := contentOf(t, path); !slices.Equal(got, want) {
				t.Errorf("the volume holds\n%s\nand an overlay\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
			if said := mapped(t, p, id); said != "a file of user 1000 is of user 101000" {
				t.Error(said)
			}
			for _, name := range []string{"new", "kept/changed"} {
				if err := os.WriteFile(filepath.Join(path, name), []byte("x"), 0o644); !errors.Is(err, syscall.EROFS) {
					t.Errorf("writing %s gives %v, want a read-only file system", name, err)
				}
			}
			if err := os.Chmod(filepath.Join(path, "kept/stays"), 0o777); !errors.Is(err, syscall.EROFS) {
				t.Errorf("changing a mode gives %v", err)
			}
			if flags := flagsOf(t, path); flags&unix.ST_NOSUID == 0 || flags&unix.ST_NODEV == 0 {
				t.Errorf("the mount has flags %#x", flags)
			}
		}
		if during := nlink(t, layer); during <= before {
			t.Errorf("the layer's file has %d names, and had %d", during, before)
		}
		if made := strings.Count(p.Said(), "made the form"); made != 1 {
			t.Errorf("the form was made %d times for two volumes", made)
		}
		for _, id := range []string{"overlay", "mapped-true", "mapped-false"} {
			p.Unpublish(t, id)
		}
		p.Stop(t, syscall.SIGTERM)
		nothingLinked(t, p)
		if after := nlink(t, layer); after != before {
			t.Errorf("the layer's file has %d names, and had %d", after, before)
		}
		p.Start(t)
	})
}

// Where no links can be made, the image is written to a file. (10 s for each node)
func TestAnImageThatCannotBeLinkedIsShownFromAFile(t *testing.T) {
	suite.OnEveryNode(t, func(t *testing.T, p *nodes.Plugin) {
		overlay := p.MustPublish(t, nodes.Volume{ID: "overlay", Image: mixed, Inline: true, ReadOnly: true})
		want := contentOf(t, overlay)
		imagelayers.WithoutLinks(t, p.Target.Root(), "/home/"+mixedFile)
		path, err := p.Publish(t, mappable("filed", mixed, true))
		if status.Code(err) == codes.FailedPrecondition && strings.Contains(err.Error(), "Linux 6.12 or newer") {
			t.Log("this kernel mounts no files: ", err)
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		if got := contentOf(t, path); !slices.Equal(got, want) {
			t.Errorf("the volume holds\n%s\nand an overlay\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
		if said := mapped(t, p, "filed"); said != "a file of user 1000 is of user 101000" {
			t.Error(said)
		}
		first, again := statOf(t, filepath.Join(path, "home", mixedFile)), statOf(t, filepath.Join(path, "home/again"))
		if first.Ino != again.Ino || first.Nlink != 2 {
			t.Errorf("two names of a file lead to inodes %d and %d, of %d names", first.Ino, again.Ino, first.Nlink)
		}
		if err := os.WriteFile(filepath.Join(path, "new"), nil, 0o644); !errors.Is(err, syscall.EROFS) {
			t.Errorf("writing gives %v, want a read-only file system", err)
		}
		if flags := flagsOf(t, path); flags&unix.ST_NOSUID == 0 || flags&unix.ST_NODEV == 0 {
			t.Errorf("the mount has flags %#x", flags)
		}
		for _, signal := range []syscall.Signal{syscall.SIGKILL, syscall.SIGTERM} {
			p.Stop(t, signal)
			p.Start(t)
			id := "second-" + signal.String()
			second := p.MustPublish(t, mappable(id, mixed, false))
			if statOf(t, second).Dev != first.Dev {
				t.Errorf("after %s two volumes of the file are two file systems, which cache it twice", signal)
			}
			if strings.Contains(p.Said(), "made the form") {
				t.Errorf("after %s the file was written again", signal)
			}
			p.Unpublish(t, id)
		}
		if files := filesOf(t, p); len(files) != 1 {
			t.Errorf("files %q", files)
		}
		for _, id := range []string{"overlay", "filed"} {
			p.Unpublish(t, id)
		}
		p.Stop(t, syscall.SIGTERM)
		if files := filesOf(t, p); len(files) != 0 {
			t.Errorf("files are left: %q", files)
		}
		nothingLinked(t, p)
		p.Start(t)
	})
}

// filesOf are the EROFS files of a driver.
func filesOf(t *testing.T, p *nodes.Plugin) []string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(p.Target.Root(), nodes.KubeletRoot, contract.PluginsDir, p.Driver, "files/*"))
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func TestAFormOutlivesItsPluginAndIsFoundAgain(t *testing.T) {
	suite.OnEveryNode(t, func(t *testing.T, p *nodes.Plugin) {
		p.MustPublish(t, mappable("first", nodes.Numbered(10), true))
		for _, signal := range []syscall.Signal{syscall.SIGKILL, syscall.SIGTERM} {
			p.Stop(t, signal)
			if pins := p.Target.Pins(t, p.Driver); len(pins) != 1 {
				t.Errorf("after %s there are pins %q", signal, pins)
			}
			p.Start(t)
			p.MustPublish(t, mappable("first", nodes.Numbered(10), true))
			id := "second-" + signal.String()
			path := p.MustPublish(t, mappable(id, nodes.Numbered(10), true))
			if got := nodes.Read(t, path, "top"); got != "9\n" {
				t.Errorf("/top holds %q", got)
			}
			if strings.Contains(p.Said(), "made the form") {
				t.Error("the form was made again")
			}
			p.Unpublish(t, id)
		}
		if found := binds(t, p); len(found) != 1 {
			t.Errorf("binds %q", found)
		}
		p.Target.RemoveImage(t, nodes.Numbered(10))
		if got := nodes.Read(t, filepath.Join(p.Target.Root(), p.Path("first")), "layers/3"); got != "layer 3\n" {
			t.Errorf("without the image a layer holds %q", got)
		}
		p.Unpublish(t, "first")
		p.Stop(t, syscall.SIGTERM)
		nothingLinked(t, p)
		if pins := p.Target.Pins(t, p.Driver); len(pins) != 0 {
			t.Errorf("pins are left: %q", pins)
		}
		p.Start(t)
	})
}

func TestFormsOfOneToAHundredLayersAreRight(t *testing.T) {
	suite.OnEveryNode(t, func(t *testing.T, p *nodes.Plugin) {
		for _, layers := range []int{1, 2, 10, 60, 100} {
			id := fmt.Sprintf("formed-%d", layers)
			path := p.MustPublish(t, mappable(id, nodes.Numbered(layers), true))
			files, err := os.ReadDir(filepath.Join(path, "layers"))
			if err != nil || len(files) != layers {
				t.Errorf("%d layers: %d files in /layers (%v)", layers, len(files), err)
			}
			if got, want := nodes.Read(t, path, "top"), fmt.Sprintf("%d\n", layers-1); got != want {
				t.Errorf("%d layers: /top holds %q, want %q", layers, got, want)
			}
			p.Unpublish(t, id)
		}
	})
}

// writableMappable is a writable volume in the form IDMappable.
func writableMappable(id, image string) nodes.Volume {
	v := mappable(id, image, true)
	v.ReadOnly = false
	return v
}

// A writable volume in the form is a copy of its image: nothing that is written reaches the image, and it ends as others do.
// (10 s for each node)
func TestAWritableVolumeInTheFormIDMappableIsACopy(t *testing.T) {
	suite.OnEveryNode(t, func(t *testing.T, p *nodes.Plugin) {
		overlay := p.MustPublish(t, nodes.Volume{ID: "overlay", Image: mixed, Inline: true, ReadOnly: true})
		layer := layerOf(t, p.Target, mixedFile)
		before := statOf(t, layer)
		// A writable volume's root has a mode of its own, and a copy no devices and pipes.
		want := slices.DeleteFunc(contentOf(t, overlay)[1:], func(line string) bool { return strings.HasPrefix(line, "/null ") || strings.HasPrefix(line, "/pipe ") })
		path := p.MustPublish(t, writableMappable("copied", mixed))
		if got := contentOf(t, path)[1:]; !slices.Equal(got, want) {
			t.Errorf("the volume holds\n%s\nand an overlay\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
		if said := mapped(t, p, "copied"); said != "a file of user 1000 is of user 101000" {
			t.Error(said)
		}
		if flags := flagsOf(t, path); flags&unix.ST_NOSUID == 0 || flags&unix.ST_NODEV == 0 || flags&unix.ST_RDONLY != 0 {
			t.Errorf("the mount has flags %#x", flags)
		}
		for _, name := range []string{"home/" + mixedFile, "new"} {
			if err := os.WriteFile(filepath.Join(path, name), []byte("written"), 0o600); err != nil {
				t.Error(err)
			}
		}
		if got := nodes.Read(t, path, "home/again"); got != "written" {
			t.Errorf("the other name of a file leads to %q", got)
		}
		if err := os.RemoveAll(filepath.Join(path, "kept")); err != nil {
			t.Error(err)
		}
		if bytes, inodes := usage(t, p, "copied"); bytes.GetUsed() < 20<<10 || inodes.GetUsed() < 10 {
			t.Errorf("statistics: %v, %v", bytes, inodes)
		}
		wantMetrics(t, p, `imagecsi_volumes{access="ReadWrite"} 1`)
		for _, signal := range []syscall.Signal{syscall.SIGKILL, syscall.SIGTERM} {
			p.Stop(t, signal)
			p.Start(t)
			p.MustPublish(t, writableMappable("copied", mixed))
			if got := nodes.Read(t, path, "new"); got != "written" {
				t.Errorf("after %s the volume holds %q", signal, got)
			}
			if strings.Contains(p.Said(), "copied an image") {
				t.Error("the image was copied again")
			}
		}
		after := statOf(t, layer)
		if after.Ctim != before.Ctim || after.Nlink != before.Nlink || nodes.Read(t, layer) != "mine" {
			t.Errorf("the image's file was %+v and is %+v", before, after)
		}
		for _, id := range []string{"overlay", "copied"} {
			p.Unpublish(t, id)
		}
		nothingCopied(t, p)
	})
}

func TestALimitOfACopyHoldsAndOneBelowTheImageIsRefused(t *testing.T) {
	suite.OnEveryNode(t, func(t *testing.T, p *nodes.Plugin) {
		limited := writableMappable("limited", twoMiB)
		limited.Attributes[contract.SizeLimitAttribute] = "1Mi"
		_, err := p.Publish(t, limited)
		if status.Code(err) != codes.FailedPrecondition || !strings.Contains(fmt.Sprint(err), "raise the limit, or mount the image read-only") {
			t.Errorf("a limit of 1 MiB: %v", err)
		}
		limited.Attributes[contract.SizeLimitAttribute] = "8Mi"
		path, err := p.Publish(t, limited)
		if !p.Target.HasQuotas(t) {
			if status.Code(err) != codes.FailedPrecondition || !strings.Contains(err.Error(), "prjquota") || strings.Contains(err.Error(), "sizeLimitFallback") {
				t.Errorf("a limit of 8 MiB: %v", err)
			}
			nothingCopied(t, p)
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(path, "small"), make([]byte, 4<<20), 0o600); err != nil {
			t.Error(err)
		}
		wantLimit(t, path)
		if bytes, _ := usage(t, p, "limited"); bytes.GetTotal() != 8<<20 || bytes.GetUsed() < 6<<20 {
			t.Errorf("statistics show %v", bytes)
		}
		p.Unpublish(t, "limited")
		nothingCopied(t, p)
	})
}

// nothingCopied waits until no directory of a writable volume is left.
func nothingCopied(t *testing.T, p *nodes.Plugin) {
	t.Helper()
	poll.Until(t, "nothing is left of the copies", time.Minute, func() error {
		left, err := filepath.Glob(filepath.Join(p.Target.Root(), nodes.KubeletRoot, contract.PluginsDir, p.Driver, "volumes/*"))
		if err == nil && len(left) > 0 {
			err = fmt.Errorf("there are %q", left)
		}
		return err
	})
}

// contentOf describes everything in a tree. It has no inodes and no numbers of links.
func contentOf(t *testing.T, root string) (found []string) {
	t.Helper()
	err := filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		var stat unix.Stat_t
		if err := unix.Lstat(path, &stat); err != nil {
			return err
		}
		line := fmt.Sprintf("%s mode %o owner %d:%d device %d changed %d", strings.TrimPrefix(path, root), stat.Mode, stat.Uid, stat.Gid, stat.Rdev, stat.Mtim.Nano())
		switch stat.Mode & unix.S_IFMT {
		case unix.S_IFREG:
			line += fmt.Sprintf(" holds %q", nodes.Read(t, path))
		case unix.S_IFLNK:
			target, err := os.Readlink(path)
			if err != nil {
				return err
			}
			line += " leads to " + target
		case unix.S_IFDIR:
			line += " attributes " + attributesOf(path)
		}
		found = append(found, line)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// attributesOf are a directory's attributes that are not an overlay's or a security module's.
func attributesOf(path string) string {
	list := make([]byte, 4096)
	n, err := unix.Llistxattr(path, list)
	if err != nil {
		return err.Error()
	}
	var out []string
	for name := range strings.SplitSeq(string(list[:n]), "\x00") {
		if strings.HasPrefix(name, "user.") {
			value := make([]byte, 4096)
			n, err := unix.Lgetxattr(path, name, value)
			out = append(out, fmt.Sprintf("%s=%q %v", name, value[:max(n, 0)], err))
		}
	}
	slices.Sort(out)
	return strings.Join(out, ", ")
}

// layerOf finds a file in a layer of the node's image store.
func layerOf(t *testing.T, target *nodes.Target, name string) string {
	t.Helper()
	found, _, _ := strings.Cut(target.Run(t, "find", "/var/lib", "-path", nodes.KubeletRoot, "-prune", "-o", "-name", name, "-print"), "\n")
	if found == "" {
		t.Fatalf("no layer of the node has %s", name)
	}
	return filepath.Join(target.Root(), found)
}

func nlink(t *testing.T, path string) uint64 {
	t.Helper()
	return uint64(statOf(t, path).Nlink) //nolint:unconvert // 32 bits on arm64
}

func statOf(t *testing.T, path string) (stat unix.Stat_t) {
	t.Helper()
	if err := unix.Lstat(path, &stat); err != nil {
		t.Fatal(err)
	}
	return stat
}

func flagsOf(t *testing.T, path string) int64 {
	t.Helper()
	var stat unix.Statfs_t
	if err := unix.Statfs(path, &stat); err != nil {
		t.Fatal(err)
	}
	return stat.Flags
}

// binds are the lines of the node's mount table that show a form of the driver's.
func binds(t *testing.T, p *nodes.Plugin) (found []string) {
	t.Helper()
	for line := range strings.Lines(nodes.Read(t, p.Target.Root(), "proc/1/mountinfo")) {
		if strings.Contains(line, "/imagecsi/"+p.Driver+"/") {
			found = append(found, line)
		}
	}
	return found
}

// nothingLinked wants no form of the driver's on the node, and no directory for it. The plugin does not run.
func nothingLinked(t *testing.T, p *nodes.Plugin) {
	t.Helper()
	if found := binds(t, p); len(found) != 0 {
		t.Errorf("binds are left: %q", found)
	}
	if found := p.Target.Run(t, "find", "/var/lib", "-path", nodes.KubeletRoot, "-prune", "-o", "-path", "*/imagecsi/"+p.Driver+"*", "-print"); found != "" {
		t.Errorf("directories are left: %s", found)
	}
	left, err := os.ReadDir(filepath.Join(p.Target.Root(), nodes.KubeletRoot, contract.PluginsDir, p.Driver, "stores"))
	if err != nil || len(left) != 0 {
		t.Errorf("stores are noted: %v (%v)", left, err)
	}
}

// mapped does to a volume on the node what a container runtime does for a pod with its own users, and returns what came of it.
func mapped(t *testing.T, p *nodes.Plugin, id string) string {
	t.Helper()
	program := "/opt/map-users-" + p.Driver
	path := filepath.Join(p.Target.Root(), program)
	copyProgram(t, path)
	defer os.Remove(path)
	return strings.TrimSpace(p.Target.Run(t, program, mapRole, p.Path(id)))
}

// mapRole is the argument by which this program knows that it is to map the users of a mount.
const mapRole = "map-the-users-of-a-mount"

// mapUsers prints whose a file of user 1000 is in a mount whose users are mapped, or why they are not (mount_setattr(2)).
func mapUsers(path string) error {
	waiting := exec.Command("sleep", "60")
	ids := []syscall.SysProcIDMap{{ContainerID: 0, HostID: 100_000, Size: 65_536}}
	waiting.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWUSER, UidMappings: ids, GidMappings: ids, Pdeathsig: syscall.SIGKILL}
	if err := waiting.Start(); err != nil {
		return err
	}
	defer func() { _, _ = waiting.Process.Kill(), waiting.Wait() }()
	users, err := os.Open(fmt.Sprintf("/proc/%d/ns/user", waiting.Process.Pid))
	if err != nil {
		return err
	}
	defer users.Close()
	mount, err := unix.OpenTree(unix.AT_FDCWD, path, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err != nil {
		return err
	}
	defer unix.Close(mount)
	err = unix.MountSetattr(mount, "", unix.AT_EMPTY_PATH, &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_IDMAP, Userns_fd: uint64(users.Fd())})
	if err != nil {
		fmt.Println("mapping its users:", err)
		return nil
	}
	var stat unix.Stat_t
	if err := unix.Fstatat(mount, "home/"+mixedFile, &stat, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return err
	}
	fmt.Println("a file of user 1000 is of user", stat.Uid)
	return nil
}
