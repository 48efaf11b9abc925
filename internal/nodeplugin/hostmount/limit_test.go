package hostmount

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

const mega = 1 << 20

// quotaFileSystems are those that can limit a directory.
var quotaFileSystems = map[string][]string{
	"ext4": {"-q", "-O", "quota,project", "-E", "quotatype=prjquota"},
	"xfs":  {"-q"},
}

// eachQuota runs a test on every file system with project quotas, by both ways to speak of it. Whether a kernel has
// quotas is up to how it was built, so a test may find none to run on.
func eachQuota(t *testing.T, test func(t *testing.T, f *fixture, dir string)) {
	for kind, options := range quotaFileSystems {
		for _, byDevice := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, by device %v", kind, byDevice), func(t *testing.T) {
				f := newFixture(t)
				f.quotaByDevice = byDevice
				test(t, f, f.fileSystem(t, kind, "prjquota", options...))
			})
		}
	}
}

// fileSystem mounts a new file system of 300 MiB beneath the root.
func (f *fixture) fileSystem(t *testing.T, kind, data string, options ...string) string {
	t.Helper()
	mkfs, err := exec.LookPath("mkfs." + kind)
	if err != nil {
		t.Skip(err)
	}
	image := filepath.Join(t.TempDir(), "image")
	writeFile(t, image, "")
	if err := os.Truncate(image, 300*mega); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(mkfs, append(options, image)...).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	dir := f.dir(t, "file-system")
	err = f.do(deadline(t), func() error { return mountImage(image, dir, kind, data) })
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ESRCH) || errors.Is(err, unix.ENODEV) {
		t.Skipf("this kernel has no %s with project quotas (CONFIG_QFMT_V2, CONFIG_XFS_QUOTA): %v", kind, err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { inNamespace(t, f, func() error { return unix.Unmount(dir, unix.MNT_DETACH) }) })
	return dir
}

// mountImage mounts a file by way of a loop device, which goes with the mount.
func mountImage(image, dir, kind, data string) error {
	control, err := unix.Open("/dev/loop-control", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer closeFD(control)
	file, err := unix.Open(image, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer closeFD(file)
	for {
		number, err := unix.IoctlRetInt(control, unix.LOOP_CTL_GET_FREE)
		if err != nil {
			return err
		}
		device := fmt.Sprintf("/dev/loop%d", number)
		loop, err := unix.Open(device, unix.O_RDWR|unix.O_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer closeFD(loop)
		config := unix.LoopConfig{Fd: uint32(file)}
		config.Info.Flags = unix.LO_FLAGS_AUTOCLEAR
		err = unix.IoctlLoopConfigure(loop, &config)
		if errors.Is(err, unix.EBUSY) {
			continue // another call took it
		}
		if err != nil {
			return err
		}
		return unix.Mount(device, dir, kind, 0, data)
	}
}

// limited publishes a writable overlay whose upper and work directory are limited.
func (f *fixture) limited(t *testing.T, dir, name string, bytes int64) (Overlay, Limit) {
	t.Helper()
	o := f.overlay(t, f.layers(t, 2)...)
	o.Upper, o.Work = filepath.Join(dir, name, "upper"), filepath.Join(dir, name, "work")
	o.Target = filepath.Join(f.root, "pods", name)
	if err := errors.Join(os.MkdirAll(o.Upper, 0o755), os.MkdirAll(o.Work, 0o755)); err != nil {
		t.Fatal(err)
	}
	l := Limit{Upper: o.Upper, Work: o.Work, Bytes: bytes}
	if err := f.Limit(deadline(t), l); err != nil {
		t.Fatal(err)
	}
	if err := f.MountOverlay(deadline(t), o); err != nil {
		t.Fatal(err)
	}
	return o, l
}

func fill(path string, bytes int) error {
	return os.WriteFile(path, make([]byte, bytes), 0o644)
}

func TestALimitedVolumeIsFullWhenItsLimitIsReachedAndNothingElseIs(t *testing.T) {
	eachQuota(t, func(t *testing.T, f *fixture, dir string) {
		full, _ := f.limited(t, dir, "full", 8*mega)
		other, _ := f.limited(t, dir, "other", 8*mega)
		writeFile(t, filepath.Join(full.Layers[0], "big"), string(make([]byte, 12*mega)))

		err := fill(filepath.Join(full.Target, "file"), 16*mega)
		if !errors.Is(err, unix.EDQUOT) && !errors.Is(err, unix.ENOSPC) {
			t.Errorf("16 MiB into a volume of 8: %v", err)
		}
		if err := unix.Chmod(filepath.Join(full.Target, "big"), 0o600); !errors.Is(err, unix.EDQUOT) && !errors.Is(err, unix.ENOSPC) {
			t.Errorf("a copy of a big file into a full volume: %v", err)
		}
		if err := errors.Join(fill(filepath.Join(other.Target, "file"), 6*mega), fill(filepath.Join(dir, "file"), 32*mega)); err != nil {
			t.Errorf("beside a full volume: %v", err)
		}
		bytes, inodes, ok, err := f.Limited(deadline(t), full.Work)
		// A new kernel writes up to 2 MiB to ext4 in one piece, which fits or does not.
		if err != nil || !ok || bytes.Total != 8*mega || bytes.Used < 6*mega || bytes.Used > 8*mega || bytes.Available > 2*mega || inodes.Used < 3 {
			t.Errorf("use of the full volume: %+v, %+v, %v, %v", bytes, inodes, ok, err)
		}
		if stat, err := f.Stat(deadline(t), full.Target); err != nil || stat.Bytes.Total != 8*mega {
			t.Errorf("df in the pod shows %+v (%v)", stat.Bytes, err)
		}
		if err := errors.Join(os.Remove(filepath.Join(full.Target, "file")), fill(filepath.Join(full.Target, "again"), 4*mega)); err != nil {
			t.Errorf("after making room: %v", err)
		}
	})
}

// A copy of an image is made in an upper directory, with the label for volumes.
func TestACopyWithItsLabelIsLimited(t *testing.T) {
	eachQuota(t, func(t *testing.T, f *fixture, dir string) {
		l := Limit{Upper: filepath.Join(dir, "upper"), Work: filepath.Join(dir, "work"), Bytes: 8 * mega}
		if err := errors.Join(os.Mkdir(l.Upper, 0o700), os.Mkdir(l.Work, 0o700), f.Limit(deadline(t), l)); err != nil {
			t.Fatal(err)
		}
		upper, err := os.Open(l.Upper)
		if err != nil {
			t.Fatal(err)
		}
		defer upper.Close()
		within := filepath.Join(l.Upper, "within")
		err = f.FillLabelled(upper, func() error {
			err := errors.Join(fill(within, 4*mega), os.Symlink("within", filepath.Join(l.Upper, "link")))
			if beyond := fill(filepath.Join(l.Upper, "beyond"), 16*mega); !errors.Is(beyond, unix.EDQUOT) && !errors.Is(beyond, unix.ENOSPC) {
				t.Errorf("20 MiB in a copy of 8: %v", beyond)
			}
			return err
		})
		if f.seLinux && underContainerPolicy() {
			if !errors.Is(err, ErrNotMappable) {
				t.Errorf("the policy lets the node plugin give labels: %v", err)
			}
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		if f.seLinux && labelOf(t, within) != DefaultContext {
			t.Errorf("a file has the label %s", labelOf(t, within))
		}
		bytes, inodes, ok, err := f.Limited(deadline(t), l.Work)
		if err != nil || !ok || bytes.Total != 8*mega || bytes.Used < 4*mega || bytes.Used > 8*mega || inodes.Used < 4 {
			t.Errorf("statistics %+v, %+v, %v, %v", bytes, inodes, ok, err)
		}
	})
}

func TestEmptyFilesAreLimitedToo(t *testing.T) {
	eachQuota(t, func(t *testing.T, f *fixture, dir string) {
		o, _ := f.limited(t, dir, "many", mega)
		var err error
		for i := 0; err == nil && i < 3000; i++ {
			err = fill(filepath.Join(o.Target, fmt.Sprint(i)), 0)
		}
		if !errors.Is(err, unix.EDQUOT) && !errors.Is(err, unix.ENOSPC) {
			t.Errorf("3000 empty files in a volume of 1 MiB: %v", err)
		}
	})
}

func TestALimitKeepsItsProjectAndLeavesNothing(t *testing.T) {
	eachQuota(t, func(t *testing.T, f *fixture, dir string) {
		o, l := f.limited(t, dir, "kept", 8*mega)
		project := f.projectOf(t, o.Upper)
		l.Bytes = 16 * mega
		if err := f.Limit(deadline(t), l); err != nil {
			t.Fatal(err)
		}
		if again := f.projectOf(t, o.Upper); again != project || f.projectOf(t, o.Work) != project {
			t.Errorf("project %d became %d", project, again)
		}
		if bytes, _, ok, err := f.Limited(deadline(t), o.Work); err != nil || !ok || bytes.Total != 16*mega {
			t.Errorf("%+v, %v, %v", bytes, ok, err)
		}
		if err := errors.Join(f.Unmount(deadline(t), o.Target), f.Unlimit(deadline(t), o.Work), os.RemoveAll(filepath.Dir(o.Work)), f.Unlimit(deadline(t), o.Work)); err != nil {
			t.Fatal(err)
		}
		inNamespace(t, f, func() error {
			root, err := unix.Open(dir, unix.O_RDONLY, 0)
			if err != nil {
				return err
			}
			defer closeFD(root)
			if left, err := f.getQuota(root, project); err != nil || left.blockLimit != 0 || left.inodeLimit != 0 {
				t.Errorf("left: %+v, %v", left, err)
			}
			return nil
		})
	})
}

// Whatever ends a process between the two, nothing but a directory leads to a quota.
func TestALimitIsRecordedWhenItsDirectoriesLeadToIt(t *testing.T) {
	eachQuota(t, func(t *testing.T, f *fixture, dir string) {
		work, upper := filepath.Join(dir, "work"), f.dir(t, "tmpfs")
		inNamespace(t, f, func() error { return unix.Mount("tmpfs", upper, "tmpfs", 0, "") })
		t.Cleanup(func() { inNamespace(t, f, func() error { return unix.Unmount(upper, unix.MNT_DETACH) }) })
		if err := os.Mkdir(work, 0o755); err != nil {
			t.Fatal(err)
		}
		err := f.Limit(deadline(t), Limit{Work: work, Upper: upper, Bytes: mega})
		if !errors.Is(err, ErrNoQuota) {
			t.Errorf("a directory that can have no project: %v", err)
		}
		if bytes, _, ok, err := f.Limited(deadline(t), work); ok || err != nil {
			t.Errorf("a limit was recorded all the same: %+v (%v)", bytes, err)
		}
	})
}

func (f *fixture) projectOf(t *testing.T, dir string) (project uint32) {
	t.Helper()
	err := f.onDirs(deadline(t), []string{dir}, func(dirs []int) error {
		attributes, err := fileAttributesOf(dirs[0])
		project = attributes.project
		return err
	})
	if err != nil || !isOurs(project) {
		t.Fatalf("project %d, %v", project, err)
	}
	return project
}

// The owner of a volume's root directory may give that another project, as through the overlay.
func TestAPodChoosesNoProject(t *testing.T) {
	eachQuota(t, func(t *testing.T, f *fixture, dir string) {
		o, l := f.limited(t, dir, "attacker", 8*mega)
		victim, _ := f.limited(t, dir, "victim", 16*mega)
		mine, theirs := f.projectOf(t, o.Work), f.projectOf(t, victim.Work)
		if mine == theirs {
			t.Fatalf("two volumes have project %d", mine)
		}
		choose := func() {
			inNamespace(t, f, func() error {
				upper, err := unix.Open(o.Upper, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
				if err != nil {
					return err
				}
				defer closeFD(upper)
				return f.setProject(upper, theirs)
			})
		}
		choose()
		if bytes, _, ok, err := f.Limited(deadline(t), o.Work); err != nil || !ok || bytes.Total != 8*mega {
			t.Errorf("statistics are those of another volume: %+v, %v, %v", bytes, ok, err)
		}
		if err := f.Limit(deadline(t), l); err != nil { // as after a reboot
			t.Fatal(err)
		}
		if got := f.projectOf(t, o.Upper); got != mine {
			t.Errorf("the upper directory is of project %d, and the volume of %d", got, mine)
		}
		choose()
		if err := errors.Join(f.Unmount(deadline(t), o.Target), f.Unlimit(deadline(t), o.Work)); err != nil {
			t.Fatal(err)
		}
		if bytes, _, ok, err := f.Limited(deadline(t), victim.Work); err != nil || !ok || bytes.Total != 16*mega {
			t.Errorf("the limit of another volume: %+v, %v, %v", bytes, ok, err)
		}
	})
}

func TestWhatCannotBeLimitedIsToldApart(t *testing.T) {
	tests := map[string]func(t *testing.T, f *fixture) string{
		"ext4 without quotas":   func(t *testing.T, f *fixture) string { return f.fileSystem(t, "ext4", "", "-q") },
		"ext4 that counts only": func(t *testing.T, f *fixture) string { return f.fileSystem(t, "ext4", "", quotaFileSystems["ext4"]...) },
		"xfs without quotas":    func(t *testing.T, f *fixture) string { return f.fileSystem(t, "xfs", "noquota", "-q") },
		"xfs that counts only":  func(t *testing.T, f *fixture) string { return f.fileSystem(t, "xfs", "pqnoenforce", "-q") },
		"a file system with no disk": func(t *testing.T, f *fixture) string {
			dir := f.dir(t, "tmpfs")
			inNamespace(t, f, func() error { return unix.Mount("tmpfs", dir, "tmpfs", 0, "") })
			t.Cleanup(func() { inNamespace(t, f, func() error { return unix.Unmount(dir, unix.MNT_DETACH) }) })
			return dir
		},
	}
	for name, prepare := range tests {
		for _, byDevice := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, by device %v", name, byDevice), func(t *testing.T) {
				f := newFixture(t)
				f.quotaByDevice = byDevice
				dir := filepath.Join(prepare(t, f), "dir")
				if err := os.Mkdir(dir, 0o755); err != nil {
					t.Fatal(err)
				}
				err := f.Limit(deadline(t), Limit{Work: dir, Upper: dir, Bytes: mega})
				if !errors.Is(err, ErrNoQuota) {
					t.Errorf("got %v", err)
				}
				if err := f.Unlimit(deadline(t), dir); err != nil {
					t.Errorf("removing what there is not: %v", err)
				}
				if _, _, ok, err := f.Limited(deadline(t), dir); (ok && name != "ext4 that counts only" && name != "xfs that counts only") || err != nil {
					t.Errorf("limited: %v, %v", ok, err)
				}
			})
		}
	}
}
