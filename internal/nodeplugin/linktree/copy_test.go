package linktree

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func (s store) copy(ctx context.Context, t *testing.T, need int64) (Built, error) {
	t.Helper()
	return Copy(ctx, open(t, s.dir), s.layers, open(t, filepath.Join(s.dir, "tree")), need)
}

func lstat(t *testing.T, path string) unix.Stat_t {
	t.Helper()
	var stat unix.Stat_t
	must(t, unix.Lstat(path, &stat))
	return stat
}

func TestACopyShowsTheTopmostOfEqualNamesAndNothingThatIsHidden(t *testing.T) {
	s := newStore(t, 3)
	s.write(t, 0, "a/new", "becomes-a-file", "opaque/upper", "back/top")
	s.write(t, 1, "a/both", "becomes-a-directory/inner", "opaque/both")
	s.write(t, 2, "a/both", "a/gone", "gone/deep", "becomes-a-file/inner", "becomes-a-directory", "opaque/lower", "opaque/both", "back/lower")
	s.whiteout(t, 0, "a/gone")
	s.whiteout(t, 1, "gone")
	s.whiteout(t, 1, "back")
	s.set(t, 1, "opaque", "trusted.overlay.opaque", "y")
	built, err := s.copy(t.Context(), t, 0)
	must(t, err)
	s.shows(t, map[string]string{
		"a/new": "0", "a/both": "1", "becomes-a-file": "0", "becomes-a-directory/inner": "1", "opaque/upper": "0", "opaque/both": "1",
		"back/top": "0",
	})
	if built.Files != 7 || built.Links != 0 || built.Directories != 5 {
		t.Errorf("built %+v", built)
	}
}

func TestACopyIsAsTheImageAndNothingOfTheImageChanges(t *testing.T) {
	s := newStore(t, 2)
	s.write(t, 1, "dir/secret", "dir/program", "dir/capable", "dir/sparse", "dir/empty")
	must(t, os.Truncate(s.path(1, "dir/empty"), 0))
	must(t, os.Truncate(s.path(1, "dir/sparse"), 1<<30))
	must(t, os.Link(s.path(1, "dir/program"), s.path(1, "dir/again")))
	must(t, os.Symlink("/etc/passwd", s.path(1, "dir/link")))
	for name, mode := range map[string]uint32{"dir/secret": 0o600, "dir/program": 0o6755, "dir": 0o3751} {
		must(t, unix.Chmod(s.path(1, name), mode))
	}
	s.set(t, 1, "dir/capable", capabilities, "\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00")
	s.set(t, 1, "dir/secret", "user.note", "kept")
	s.set(t, 1, "dir/secret", "trusted.other", "left")
	must(t, os.Lchown(s.path(1, "dir/secret"), 1000, 2000))
	must(t, os.Lchown(s.path(1, "dir/link"), 1000, 2000))
	old := unix.NsecToTimespec(1_000_000_001)
	names := []string{"dir", "dir/secret", "dir/program", "dir/capable", "dir/sparse", "dir/empty", "dir/again", "dir/link"}
	before := map[string]unix.Stat_t{}
	for _, name := range names {
		must(t, unix.UtimesNanoAt(unix.AT_FDCWD, s.path(1, name), []unix.Timespec{old, old}, unix.AT_SYMLINK_NOFOLLOW))
	}
	for _, name := range names {
		before[name] = lstat(t, s.path(1, name))
	}
	built, err := s.copy(t.Context(), t, 0)
	must(t, err)
	if built.Files != 5 || built.Links != 1 || built.Omitted != 0 {
		t.Errorf("built %+v", built)
	}
	for _, name := range names {
		was, is, copied := before[name], lstat(t, s.path(1, name)), lstat(t, filepath.Join(s.dir, "tree", name))
		if was.Ctim != is.Ctim || was.Nlink != is.Nlink || was.Mode != is.Mode || was.Uid != is.Uid || was.Blocks != is.Blocks {
			t.Errorf("%s of the image was %+v and is %+v", name, was, is)
		}
		if copied.Mode != is.Mode || copied.Uid != is.Uid || copied.Gid != is.Gid || copied.Size != is.Size || copied.Mtim != old || copied.Rdev != is.Rdev {
			t.Errorf("%s is %+v, and its copy %+v", name, is, copied)
		}
		if copied.Ino == is.Ino || copied.Blocks > is.Blocks+8 {
			t.Errorf("%s: inode %d and %d, blocks %d and %d", name, is.Ino, copied.Ino, is.Blocks, copied.Blocks)
		}
	}
	tree := func(name string) string { return filepath.Join(s.dir, "tree", name) }
	if lstat(t, tree("dir/program")).Ino != lstat(t, tree("dir/again")).Ino {
		t.Error("two names of a file became two files")
	}
	value := make([]byte, 100)
	for name, want := range map[string]string{"dir/secret user.note": "kept", "dir/capable " + capabilities: "\x01\x00\x00\x02"} {
		file, attribute, _ := strings.Cut(name, " ")
		if n, err := unix.Lgetxattr(tree(file), attribute, value); err != nil || !bytes.HasPrefix(value[:n], []byte(want)) {
			t.Errorf("%s is %q (%v)", name, value[:max(n, 0)], err)
		}
	}
	if _, err := unix.Lgetxattr(tree("dir/secret"), "trusted.other", value); !errors.Is(err, unix.ENODATA) {
		t.Errorf("an attribute that is not the image's: %v", err)
	}
	must(t, os.WriteFile(tree("dir/secret"), []byte("changed"), 0o600))
	if content, err := os.ReadFile(s.path(1, "dir/secret")); string(content) != "1" {
		t.Errorf("a write to the copy made the image %q (%v)", content, err)
	}
}

func TestDataBetweenHolesIsCopied(t *testing.T) {
	s := newStore(t, 1)
	s.write(t, 0, "file")
	want := bytes.Repeat([]byte("0123456789"), 100_000)
	file, err := os.OpenFile(s.path(0, "file"), os.O_WRONLY, 0)
	must(t, err)
	for _, at := range []int64{0, 8 << 20} {
		_, err := file.WriteAt(want, at)
		must(t, err)
	}
	must(t, file.Truncate(32<<20))
	must(t, file.Close())
	_, err = s.copy(t.Context(), t, 0)
	must(t, err)
	got, err := os.ReadFile(filepath.Join(s.dir, "tree/file"))
	must(t, err)
	was, err := os.ReadFile(s.path(0, "file"))
	must(t, err)
	if !bytes.Equal(got, was) {
		t.Error("the copy holds something else")
	}
	if blocks := lstat(t, filepath.Join(s.dir, "tree/file")).Blocks; blocks > 6<<20/512 {
		t.Errorf("the copy takes %d blocks", blocks)
	}
}

// A process that may make devices could make those of the node's disks.
func TestACopyLacksDevicesPipesAndSocketsAndWhatTheyHide(t *testing.T) {
	s := newStore(t, 2)
	s.write(t, 1, "pipe", "device/inner", "file")
	must(t, unix.Mkfifo(s.path(0, "pipe"), 0o644))
	must(t, unix.Mknod(s.path(0, "device"), unix.S_IFBLK|0o644, int(unix.Mkdev(7, 0))))
	must(t, unix.Mknod(s.path(0, "socket"), unix.S_IFSOCK|0o644, 0))
	built, err := s.copy(t.Context(), t, 0)
	must(t, err)
	s.shows(t, map[string]string{"file": "1"})
	if left, err := os.ReadDir(filepath.Join(s.dir, "tree")); err != nil || len(left) != 1 || built.Omitted != 3 {
		t.Errorf("the copy has %v (%v), built %+v", left, err, built)
	}
}

// A copy that would fill the disk is not begun. Where content can be shared, it takes none.
func TestACopyIsNotBegunWithoutRoomForIt(t *testing.T) {
	s := newStore(t, 1)
	s.write(t, 0, "file")
	built, err := s.copy(t.Context(), t, math.MaxInt64)
	if built.Shared == 1 && err == nil {
		return // this file system shares content
	}
	if !errors.Is(err, unix.ENOSPC) || !strings.Contains(err.Error(), "are free") || built.Files != 0 {
		t.Errorf("%+v, %v", built, err)
	}
}

func TestNoLinkIsFollowedByACopy(t *testing.T) {
	s := newStore(t, 2)
	outside := t.TempDir()
	must(t, os.WriteFile(filepath.Join(outside, "secret"), nil, 0o600))
	s.write(t, 0, "dir/upper")
	must(t, os.Symlink(outside, s.path(1, "dir")))
	must(t, os.Symlink(outside, s.path(1, "link")))
	_, err := s.copy(t.Context(), t, 0)
	must(t, err)
	s.shows(t, map[string]string{"dir/upper": "0"})
	if target, err := os.Readlink(filepath.Join(s.dir, "tree/link")); err != nil || target != outside {
		t.Errorf("the link leads to %q (%v)", target, err)
	}
}

func TestACopyEndsWithItsContext(t *testing.T) {
	s := newStore(t, 1)
	for i := range 3 {
		s.write(t, 0, fmt.Sprint(i))
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.copy(ctx, t, 0); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}
