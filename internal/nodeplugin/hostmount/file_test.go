package hostmount

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// fileSource is what a driver calls a file: mountinfo shows it.
const fileSource = "imagecsi:test@sha256:0"

// file describes a mount of an EROFS image in a file of the node.
func (f *fixture) file(t *testing.T) File {
	t.Helper()
	image, err := os.ReadFile(erofsImages(t)[0])
	if err != nil {
		t.Fatal(err)
	}
	file := File{Path: filepath.Join(f.root, "files", fileSource), Target: filepath.Join(f.root, "pods/uid/volumes/kubernetes.io~csi/v/mount")}
	writeFile(t, file.Path, string(image))
	return file
}

// whereFilesMount runs a test where an EROFS image that is a file can be mounted. On other kernels it wants the refusal instead.
func whereFilesMount(t *testing.T, test func(t *testing.T, f *fixture)) {
	f := newFixture(t)
	file := f.file(t)
	before := openFiles(t)
	err := f.MountsFiles(deadline(t), file.Path)
	if after := openFiles(t); after != before {
		t.Errorf("%d files are open, and %d were", after, before)
	}
	if err == nil {
		test(t, f)
		return
	}
	t.Log(err)
	named := func(reason string) bool { return strings.Contains(err.Error(), reason) }
	if !errors.Is(err, ErrNotMappable) || !slices.ContainsFunc([]string{"Linux 6.12", "Linux 5.12", "its SELinux policy"}, named) {
		t.Errorf("the refusal: %v", err)
	}
	if err := f.MountFile(deadline(t), file); err == nil {
		t.Error("it is mounted all the same")
	}
	if _, err := os.Lstat(file.Target); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the target was made (%v)", err)
	}
}

func TestAFileIsShownAndCannotBeWritten(t *testing.T) {
	whereFilesMount(t, aFileIsShownAndCannotBeWritten)
}

func aFileIsShownAndCannotBeWritten(t *testing.T, f *fixture) {
	file := f.file(t)
	before := openFiles(t)
	for range 2 {
		if err := f.MountFile(deadline(t), file); err != nil {
			t.Fatal(err)
		}
	}
	here := f.at(t, file.Target)
	if len(here) != 1 || here[0].Source != fileSource || !here[0].IsFile() || !here[0].ReadOnly {
		t.Errorf("mounts %+v", here)
	}
	if got := readFile(t, filepath.Join(file.Target, "top")); got != "2" {
		t.Errorf("the file holds %q", got)
	}
	if err := os.WriteFile(filepath.Join(file.Target, "top"), nil, 0o644); !errors.Is(err, unix.EROFS) {
		t.Errorf("writing gives %v", err)
	}
	if flags := mountFlags(t, file.Target); flags&unix.ST_NOSUID == 0 || flags&unix.ST_NODEV == 0 || flags&unix.ST_RDONLY == 0 {
		t.Errorf("flags %#x", flags)
	}
	if after := openFiles(t); after != before {
		t.Errorf("%d files are open, and %d were", after, before)
	}
	noLoopDevice(t, fileSource)
	other := file
	other.Path += "1"
	writeFile(t, other.Path, readFile(t, file.Path))
	if err := f.MountFile(deadline(t), other); !errors.Is(err, ErrOccupied) {
		t.Errorf("another file: %v", err)
	}
	if err := f.Unmount(deadline(t), file.Target); err != nil {
		t.Error(err)
	}
}

// Each file system reads and caches the file for itself.
func TestMountsOfOneFileAreOneFileSystem(t *testing.T) {
	whereFilesMount(t, mountsOfOneFileAreOneFileSystem)
}

func mountsOfOneFileAreOneFileSystem(t *testing.T, f *fixture) {
	f.seLinux = false // with a label, each mount is a file system of its own, whatever the policy is
	file := f.file(t)
	second := file
	second.Target = filepath.Join(f.root, "pods/other/volumes/kubernetes.io~csi/v/mount")
	pods := f.dir(t, "pods")
	f.bind(t, pods, pods, 0)
	f.share(t, pods)
	for _, each := range []File{file, second} {
		if err := f.MountFile(deadline(t), each); err != nil {
			t.Fatal(err)
		}
	}
	first, other := f.at(t, file.Target), f.at(t, second.Target)
	if len(first) == 0 || len(other) == 0 || first[0].Device != other[0].Device || other[0].Root != "/" {
		t.Fatalf("mounts %+v and %+v", first, other)
	}
	if flags := mountFlags(t, second.Target); flags&unix.ST_NOSUID == 0 || flags&unix.ST_NODEV == 0 || flags&unix.ST_RDONLY == 0 {
		t.Errorf("flags %#x", flags)
	}
	f.bind(t, file.Path, filepath.Join(file.Target, "top"), 0)
	if got := readFile(t, filepath.Join(second.Target, "top")); got != "2" {
		t.Error("what is mounted beneath one volume is beneath the other")
	}
	inNamespace(t, f, func() error { return unix.Unmount(filepath.Join(file.Target, "top"), 0) })
	if err := f.Unmount(deadline(t), file.Target); err != nil {
		t.Error(err)
	}
	if got := readFile(t, filepath.Join(second.Target, "top")); got != "2" {
		t.Errorf("without the first one, the file holds %q", got)
	}
	// What hides the volume that is there is not shown in its place.
	f.tmpfs(t, second.Target)
	if err := f.MountFile(deadline(t), file); err != nil {
		t.Fatal(err)
	}
	if got := readFile(t, filepath.Join(file.Target, "top")); got != "2" {
		t.Errorf("the file holds %q", got)
	}
}

func TestAFileIsRefusedWithoutATrace(t *testing.T) { whereFilesMount(t, aFileIsRefusedWithoutATrace) }

func aFileIsRefusedWithoutATrace(t *testing.T, f *fixture) {
	for name, test := range map[string]struct {
		change func(*File)
		want   error
	}{
		"missing":               {func(file *File) { file.Path += "-none" }, fs.ErrNotExist},
		"of another format":     {func(file *File) { file.Path += "-bad"; writeFile(t, file.Path, "no image") }, ErrBadEROFS},
		"on a target elsewhere": {func(file *File) { file.Target = "/elsewhere" }, ErrBadTarget},
	} {
		t.Run(name, func(t *testing.T) {
			file := f.file(t)
			test.change(&file)
			before := openFiles(t)
			if err := f.MountFile(deadline(t), file); !errors.Is(err, test.want) {
				t.Errorf("got %v, want %v", err, test.want)
			}
			if _, err := os.Lstat(file.Target); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("the target was made (%v)", err)
			}
			if after := openFiles(t); after != before {
				t.Errorf("%d files are open, and %d were", after, before)
			}
		})
	}
}
