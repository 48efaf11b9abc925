package erofsfile

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/image-csi/image-csi-operator/internal/nodeplugin/hostmount"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func generous() bounds {
	return bounds{entries: maxEntries, bytes: 1 << 30, inline: maxInline, length: maxLength, depth: maxDepth}
}

// written writes a directory to a file.
func written(t testing.TB, dir string, within bounds) (file string, w Written, err error) {
	t.Helper()
	from, err := os.Open(dir)
	must(t, err)
	defer from.Close()
	file = filepath.Join(t.TempDir(), "image")
	to, err := os.Create(file)
	must(t, err)
	defer to.Close()
	w, err = write(t.Context(), from, to, within)
	return file, w, err
}

// shown returns a path by which the kernel shows a file, in a mount that has no place.
func shown(t testing.TB, file string) string {
	t.Helper()
	if os.Geteuid() != 0 && os.Getenv("CI") == "" {
		t.Skip("mounting needs root")
	}
	context, err := unix.Fsopen("erofs", unix.FSOPEN_CLOEXEC)
	if errors.Is(err, unix.ENODEV) {
		t.Skip("this kernel has no erofs")
	}
	must(t, err)
	defer unix.Close(context)
	must(t, unix.FsconfigSetString(context, "source", file))
	if err = unix.FsconfigCreate(context); errors.Is(err, unix.ENOTBLK) {
		t.Skip("this kernel's erofs reads devices only")
	}
	must(t, err)
	mount, err := unix.Fsmount(context, unix.FSMOUNT_CLOEXEC, unix.MOUNT_ATTR_RDONLY|unix.MOUNT_ATTR_NODEV)
	must(t, err)
	t.Cleanup(func() { _ = unix.Close(mount) })
	return hostmount.DescriptorPath(mount)
}

// contentsOf describes all that a directory holds, without inodes.
func contentsOf(t testing.TB, root string) (found []string) {
	t.Helper()
	must(t, filepath.WalkDir(root+"/.", func(path string, _ fs.DirEntry, err error) error {
		must(t, err)
		var stat unix.Stat_t
		must(t, unix.Lstat(path, &stat))
		line := fmt.Sprintf("%q mode %o owner %d:%d device %d changed %d names %d attributes %q", strings.TrimPrefix(path, root), stat.Mode, stat.Uid, stat.Gid,
			stat.Rdev, stat.Mtim.Nano(), stat.Nlink, attributesOf(t, path))
		switch stat.Mode & unix.S_IFMT {
		case unix.S_IFREG:
			file, err := os.Open(path)
			must(t, err)
			defer file.Close()
			sum := sha256.New()
			size, err := io.Copy(sum, file)
			must(t, err)
			line += fmt.Sprintf(" %d bytes %x", size, sum.Sum(nil))
		case unix.S_IFLNK:
			target, err := os.Readlink(path)
			must(t, err)
			line += " to " + target
		}
		found = append(found, line)
		return nil
	}))
	return found
}

func attributesOf(t testing.TB, path string) (found []string) {
	t.Helper()
	list := make([]byte, 1<<16)
	n, err := unix.Llistxattr(path, list)
	must(t, err)
	for name := range strings.SplitSeq(string(list[:n]), "\x00") {
		if name == "" || strings.HasPrefix(name, "trusted.") || name == "security.selinux" {
			continue
		}
		value := make([]byte, 1<<16)
		n, err := unix.Lgetxattr(path, name, value)
		must(t, err)
		found = append(found, fmt.Sprintf("%s=%x", name, sha256.Sum256(value[:n])))
	}
	slices.Sort(found)
	return found
}

// write makes a file, with what lies above it.
func put(t testing.TB, path string, content []byte) {
	t.Helper()
	must(t, os.MkdirAll(filepath.Dir(path), 0o755))
	must(t, os.WriteFile(path, content, 0o644))
}

func random(n int) []byte {
	content := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{byte(n)}).Read(content)
	return content
}

// accessList lets user 1000 read, in the form of acl(5) that the kernel has.
var accessList = []byte("\x02\x00\x00\x00\x01\x00\x06\x00\xff\xff\xff\xff\x02\x00\x04\x00\xe8\x03\x00\x00\x04\x00\x04\x00\xff\xff\xff\xff\x10\x00\x04\x00\xff\xff\xff\xff\x20\x00\x00\x00\xff\xff\xff\xff")

// everything makes a directory with all that an image may have.
func everything(t testing.TB) string {
	t.Helper()
	if os.Geteuid() != 0 && os.Getenv("CI") == "" {
		t.Skip("owners, devices and attributes need root")
	}
	root := t.TempDir()
	for _, size := range []int{0, 1, 100, 3999, 4032, 4033, 4095, 4096, 4097, 8191, 8192, 100_000, 3 << 20} {
		put(t, filepath.Join(root, "sizes", fmt.Sprint(size)), random(size))
	}
	for i := range 1000 {
		put(t, filepath.Join(root, "many", fmt.Sprintf("%s-%d", strings.Repeat("n", i%200), i)), []byte(fmt.Sprint(i)))
	}
	put(t, filepath.Join(root, "long", strings.Repeat("n", 255), strings.Repeat("m", 255)), []byte("long"))
	put(t, filepath.Join(root, "odd", "spa ce\n\x01\xff[*?"), []byte("odd"))
	put(t, filepath.Join(root, "home/secret"), []byte("mine"))
	must(t, os.Chown(filepath.Join(root, "home/secret"), 1000, 70_000))
	must(t, os.Chmod(filepath.Join(root, "home/secret"), 0o600))
	must(t, os.Symlink("/etc/passwd", filepath.Join(root, "home/link")))
	must(t, os.Lchown(filepath.Join(root, "home/link"), 1000, 1000))
	must(t, os.Symlink(strings.Repeat("x/", 2000)+"end", filepath.Join(root, "home/far")))
	put(t, filepath.Join(root, "bin/program"), random(10_000))
	for _, name := range []string{"bin/a", "bin/z", "again", "a-dir/deep/er"} {
		must(t, os.MkdirAll(filepath.Dir(filepath.Join(root, name)), 0o755))
		must(t, os.Link(filepath.Join(root, "bin/program"), filepath.Join(root, name)))
	}
	must(t, os.Link(filepath.Join(root, "home/link"), filepath.Join(root, "home/same-link")))
	must(t, unix.Mkfifo(filepath.Join(root, "pipe"), 0o622))
	must(t, unix.Mknod(filepath.Join(root, "null"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))))
	must(t, unix.Mknod(filepath.Join(root, "disk"), unix.S_IFBLK|0o660, int(unix.Mkdev(259, 1_000_000))))
	must(t, unix.Mknod(filepath.Join(root, "socket"), unix.S_IFSOCK|0o777, 0))
	must(t, os.MkdirAll(filepath.Join(root, "empty"), 0o755))
	for name, mode := range map[string]uint32{"bin/program": 0o6755, "home": 0o2750, "empty": 0o1777, ".": 0o1751} {
		must(t, unix.Chmod(filepath.Join(root, name), mode))
	}
	for name, values := range map[string]map[string][]byte{
		".":           {"user.root": []byte("of the root")},
		"home":        {"user.note": []byte("kept"), "user.empty": nil, "system.posix_acl_default": accessList},
		"home/secret": {"system.posix_acl_access": accessList, "user.large": random(2000), "user." + strings.Repeat("n", 250): []byte("long")},
		"sizes/100":   {"security.capability": []byte("\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00")},
		"sizes/1":     {"trusted.other": []byte("left")},
	} {
		for attribute, value := range values {
			must(t, unix.Lsetxattr(filepath.Join(root, name), attribute, value, 0))
		}
	}
	times := map[string]int64{"sizes/0": 0, "sizes/1": 1_000_000_000, "sizes/100": 1_600_000_000_123_456_789, "home/link": 5, "empty": -1_000_000_001, ".": 77}
	for name, at := range times {
		when := unix.NsecToTimespec(at)
		must(t, unix.UtimesNanoAt(unix.AT_FDCWD, filepath.Join(root, name), []unix.Timespec{when, when}, unix.AT_SYMLINK_NOFOLLOW))
	}
	return root
}

func TestTheKernelShowsAFileAsTheDirectoryThatItWasMadeOf(t *testing.T) {
	root := everything(t)
	want := contentsOf(t, root)
	file, w, err := written(t, root, generous())
	must(t, err)
	t.Logf("%+v", w)
	at := shown(t, file)
	got := contentsOf(t, at)
	for i := range max(len(got), len(want)) {
		if i >= len(got) || i >= len(want) || got[i] != want[i] {
			t.Errorf("the file shows\n%.400s\nof\n%.400s", slices.Concat(got, []string{"nothing"})[min(i, len(got))], slices.Concat(want, []string{"nothing"})[min(i, len(want))])
		}
	}
	first, other := stat(t, filepath.Join(at, "bin/program")), stat(t, filepath.Join(at, "a-dir/deep/er"))
	if first.Ino != other.Ino || first.Nlink != 5 {
		t.Errorf("two names of a file lead to inodes %d and %d, of %d names", first.Ino, other.Ino, first.Nlink)
	}
	if w.Linked != 5 || w.Directories != len(slices.DeleteFunc(got, func(line string) bool { return !strings.Contains(line, " mode 4") })) {
		t.Errorf("written %+v", w)
	}
	if after := contentsOf(t, root); !slices.Equal(after, want) {
		t.Error("the directory was changed")
	}
}

func stat(t testing.TB, path string) (found unix.Stat_t) {
	t.Helper()
	must(t, unix.Lstat(path, &found))
	return found
}

func TestAnEmptyImageCanBeMountedAndIsReplaced(t *testing.T) {
	file := filepath.Join(t.TempDir(), "image")
	to, err := os.Create(file)
	must(t, err)
	defer to.Close()
	must(t, WriteEmpty(to))
	if entries, err := os.ReadDir(shown(t, file)); err != nil || len(entries) != 0 {
		t.Errorf("it shows %v (%v)", entries, err)
	}
	root := t.TempDir()
	put(t, filepath.Join(root, "file"), []byte("x"))
	from, err := os.Open(root)
	must(t, err)
	defer from.Close()
	_, err = Write(t.Context(), from, to)
	must(t, err)
	if content, err := os.ReadFile(filepath.Join(shown(t, file), "file")); err != nil || string(content) != "x" {
		t.Errorf("then it holds %q (%v)", content, err)
	}
}

// A database of an image may be large and sparse.
func TestHolesTakeNoDisk(t *testing.T) {
	root := t.TempDir()
	const size = 5 << 30
	sparse, err := os.Create(filepath.Join(root, "sparse"))
	must(t, err)
	must(t, sparse.Truncate(size+1))
	for _, at := range []int64{0, 1 << 30, 4<<30 + 123, size} {
		_, err := sparse.WriteAt([]byte("x"), at)
		must(t, err)
	}
	must(t, sparse.Close())
	within := generous()
	within.bytes = 1 << 20
	file, w, err := written(t, root, within)
	must(t, err)
	if found := stat(t, file); found.Size < size || found.Blocks*512 > 1<<20 || w.Bytes > 1<<20 {
		t.Errorf("a file of %d bytes takes %d of disk, and %d were written", found.Size, found.Blocks*512, w.Bytes)
	}
	opened, err := os.Open(filepath.Join(shown(t, file), "sparse"))
	must(t, err)
	defer opened.Close()
	for at, want := range map[int64]byte{0: 'x', 1: 0, 1 << 30: 'x', 4<<30 + 123: 'x', 4<<30 + 124: 0, size: 'x'} {
		got := make([]byte, 1)
		if _, err := opened.ReadAt(got, at); err != nil || got[0] != want {
			t.Errorf("at %d it holds %q (%v)", at, got, err)
		}
	}
	if found := stat(t, filepath.Join(shown(t, file), "sparse")); found.Size != size+1 {
		t.Errorf("it has %d bytes", found.Size)
	}
}

func TestWhatIsTooLargeIsRefusedInOneSentence(t *testing.T) {
	root := t.TempDir()
	put(t, filepath.Join(root, "a/b/c/file"), random(100_000))
	put(t, filepath.Join(root, "a/small"), random(3000))
	for want, change := range map[string]func(*bounds){
		"it takes more than 0 MiB":                       func(b *bounds) { b.bytes = 50_000 },
		"it has more than 4 files":                       func(b *bounds) { b.entries = 4 },
		"its small files have more than 0 MiB":           func(b *bounds) { b.inline = 2000 },
		"its files have more than 0 GiB, holes included": func(b *bounds) { b.length = 100_000 },
		"it has directories more than 2 deep":            func(b *bounds) { b.depth = 2 },
	} {
		within := generous()
		change(&within)
		if _, _, err := written(t, root, within); !errors.Is(err, ErrTooLarge) || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v", want, err)
		}
	}
}

func TestAFullDiskIsToldAndSoIsTheEndOfTheCall(t *testing.T) {
	root := t.TempDir()
	put(t, filepath.Join(root, "file"), random(100_000))
	from, err := os.Open(root)
	must(t, err)
	defer from.Close()
	full, err := os.OpenFile("/dev/full", os.O_RDWR, 0)
	must(t, err)
	defer full.Close()
	out := &output{file: full, most: 1 << 20}
	_, err = out.Write([]byte("x"))
	if err == nil {
		err = out.finish()
	}
	if !errors.Is(err, unix.ENOSPC) {
		t.Errorf("a full disk: %v", err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	to, err := os.Create(filepath.Join(t.TempDir(), "image"))
	must(t, err)
	defer to.Close()
	if _, err := Write(ended, from, to); !errors.Is(err, context.Canceled) {
		t.Errorf("a call that has ended: %v", err)
	}
}

// What the library takes as less than the whole would be a damaged file.
func TestAFileThatGetsShorterIsAnError(t *testing.T) {
	for _, size := range []int{100, 100_000} {
		root := t.TempDir()
		put(t, filepath.Join(root, "file"), random(size))
		from, err := os.Open(root)
		must(t, err)
		defer from.Close()
		to, err := os.Create(filepath.Join(t.TempDir(), "image"))
		must(t, err)
		defer to.Close()
		c := &contents{tree: &tree{ctx: t.Context(), root: from}, name: "file"}
		if n, err := io.Copy(io.Discard, c); n != int64(size) || !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("read %d bytes (%v)", n, err)
		}
		must(t, c.Close())
	}
}

// A container runtime maps the users of a pod's volumes, which it can for a mount of such a file.
func TestTheUsersOfAFileCanBeMapped(t *testing.T) {
	root := everything(t)
	file, _, err := written(t, root, generous())
	must(t, err)
	at := shown(t, file)
	waiting := exec.Command("sleep", "60")
	ids := []syscall.SysProcIDMap{{ContainerID: 0, HostID: 100_000, Size: 65_536}}
	waiting.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWUSER, UidMappings: ids, GidMappings: ids, Pdeathsig: syscall.SIGKILL}
	must(t, waiting.Start())
	defer func() { _, _ = waiting.Process.Kill(), waiting.Wait() }()
	users, err := os.Open(fmt.Sprintf("/proc/%d/ns/user", waiting.Process.Pid))
	must(t, err)
	defer users.Close()
	mount, err := unix.OpenTree(unix.AT_FDCWD, at, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	must(t, err)
	defer unix.Close(mount)
	must(t, unix.MountSetattr(mount, "", unix.AT_EMPTY_PATH, &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_IDMAP, Userns_fd: uint64(users.Fd())}))
	if found := stat(t, hostmount.DescriptorPath(mount)+"/home/secret"); found.Uid != 101_000 {
		t.Errorf("a file of user 1000 is of user %d", found.Uid)
	}
}
