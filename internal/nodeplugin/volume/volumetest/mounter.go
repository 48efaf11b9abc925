package volumetest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/image-csi/image-csi-operator/internal/nodeplugin/hostmount"
)

// MountOverlay notes a mount of a tree without a pin, or of directories that do not exist, as broken.
func (w *World) MountOverlay(_ context.Context, o hostmount.Overlay) error {
	w.Mu.Lock()
	defer w.Mu.Unlock()
	return w.Act("mount", func() error {
		tree := strings.TrimPrefix(o.Source, "imagecsi:"+Driver+"@")
		if !w.HasPin[tree] && !w.NoTree[o.Source] {
			w.Broken = append(w.Broken, "mounted "+tree+" without a pin")
		}
		upper, dirs := o.Upper, []string{o.Upper, o.Work}
		if o.Memory != nil {
			upper, dirs = filepath.Join(o.Memory.At, "upper"), []string{o.Memory.At}
			w.InMemory[o.Target] = *o.Memory
		}
		if old, ok := w.Mounted[o.Target]; ok {
			if old.Source == o.Source && old.ReadOnly == (upper == "") {
				return nil
			}
			return hostmount.ErrOccupied
		}
		if upper != "" {
			for _, dir := range dirs {
				if _, err := os.Stat(dir); err != nil {
					w.Broken = append(w.Broken, err.Error())
				}
			}
		}
		w.devices++
		w.Mounted[o.Target] = hostmount.Mount{
			Target: o.Target, Source: o.Source, FSType: "overlay", Root: "/", ReadOnly: upper == "", Upper: upper, Device: w.devices,
		}
		return nil
	})
}

// OpenOverlay opens the directory that a test has for a tree. Like a mount, it needs a pin.
func (w *World) OpenOverlay(_ context.Context, o hostmount.Overlay) (root *os.File, err error) {
	if w.OnOpen != nil {
		w.OnOpen()
	}
	w.Mu.Lock()
	defer w.Mu.Unlock()
	err = w.Act("open", func() error {
		tree := strings.TrimPrefix(o.Source, "imagecsi:"+Driver+"@")
		if !w.HasPin[tree] {
			w.Broken = append(w.Broken, "looked at "+tree+" without a pin")
		}
		root, err = os.Open(w.Trees[tree])
		return err
	})
	return root, err
}

// MountBind notes a bind of a linked tree without a pin as broken. A copy needs none.
func (w *World) MountBind(_ context.Context, b hostmount.Bind) error {
	w.Mu.Lock()
	defer w.Mu.Unlock()
	return w.Act("bind", func() error {
		if w.NoBinds != nil {
			return w.NoBinds
		}
		root := filepath.Join(b.Store, b.Dir)
		if _, err := os.Stat(root); err != nil {
			return err
		}
		if tree := "sha256:" + filepath.Base(root); !b.Writable && !w.HasPin[tree] {
			w.Broken = append(w.Broken, "bound "+tree+" without a pin")
		}
		// The disk is every bind's file system.
		w.Mounted[b.Target] = hostmount.Mount{Target: b.Target, Source: "/dev/sda", FSType: "ext4", Root: root, ReadOnly: !b.Writable, Device: 1 << 20}
		return nil
	})
}

// MountFile notes a mount of an EROFS file without a pin as broken.
func (w *World) MountFile(_ context.Context, f hostmount.File) error {
	w.Mu.Lock()
	defer w.Mu.Unlock()
	return w.Act("file", func() error {
		if _, err := os.Stat(f.Path); err != nil {
			return err
		}
		if w.BadFile {
			return hostmount.ErrBadEROFS
		}
		source := filepath.Base(f.Path)
		if tree := strings.TrimPrefix(source, "imagecsi:"+Driver+"@"); !w.HasPin[tree] {
			w.Broken = append(w.Broken, "mounted the file of "+tree+" without a pin")
		}
		w.devices++
		w.Mounted[f.Target] = hostmount.Mount{Target: f.Target, Source: source, FSType: "erofs", Root: "/", ReadOnly: true, Device: w.devices}
		return nil
	})
}

// MountsFiles wants a file that is there.
func (w *World) MountsFiles(_ context.Context, file string) error {
	w.Mu.Lock()
	defer w.Mu.Unlock()
	return w.Act("mounts files", func() error {
		if _, err := os.Stat(file); err != nil {
			return err
		}
		return w.NoFiles
	})
}

// Label labels nothing.
func (w *World) Label(*os.File) error { return nil }

// FillLabelled notes the directory, and runs fill, unless NoLabels refuses it.
func (w *World) FillLabelled(dir *os.File, fill func() error) error {
	w.Mu.Lock()
	refusal := w.NoLabels
	if refusal == nil {
		w.Labelled = append(w.Labelled, dir.Name())
	}
	w.Mu.Unlock()
	if refusal != nil {
		return refusal
	}
	return fill()
}

// OpenStore opens a directory of the test's.
func (w *World) OpenStore(_ context.Context, dir string) (store *os.File, err error) {
	if w.OnOpen != nil {
		w.OnOpen()
	}
	w.Mu.Lock()
	defer w.Mu.Unlock()
	err = w.Act("store", func() error {
		store, err = os.Open(dir)
		return err
	})
	return store, err
}

// Unmount also removes the directory, which is there if a test made it.
func (w *World) Unmount(_ context.Context, target string) error {
	w.Mu.Lock()
	defer w.Mu.Unlock()
	return w.Act("unmount", func() error {
		delete(w.Mounted, target)
		if err := syscall.Rmdir(target); errors.Is(err, syscall.ENOTEMPTY) {
			return fmt.Errorf("%w: %w", hostmount.ErrNotEmpty, err)
		}
		return nil
	})
}

// MoveDir moves the files themselves.
func (w *World) MoveDir(_ context.Context, target, to string) error {
	w.Mu.Lock()
	defer w.Mu.Unlock()
	return w.Act("move", func() error { return os.Rename(target, to) })
}

// Mounts lists the mount table.
func (w *World) Mounts(context.Context) ([]hostmount.Mount, error) {
	w.Mu.Lock()
	defer w.Mu.Unlock()
	return slices.Collect(maps.Values(w.Mounted)), nil
}

// List sees the same files as the node under test.
func (w *World) List(_ context.Context, dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	if on := w.OnList; on != nil {
		w.OnList = nil
		on()
	}
	return names, nil
}

// Changed returns what the disk has.
func (w *World) Changed(_ context.Context, dir string) (time.Time, error) {
	info, err := os.Stat(dir)
	if err != nil {
		return time.Time{}, err
	}
	return info.ModTime(), nil
}

// Stat returns what the mount table has, and a capacity of its own.
func (w *World) Stat(_ context.Context, target string) (hostmount.Stat, error) {
	w.Mu.Lock()
	defer w.Mu.Unlock()
	m, mounted := w.Mounted[target]
	if !mounted {
		_, err := os.Stat(target)
		return hostmount.Stat{}, err
	}
	return hostmount.Stat{
		Mount: &m, Gone: w.Gone[target],
		Bytes:  hostmount.Capacity{Total: 1 << 30, Used: 1 << 29, Available: 1 << 28},
		Inodes: hostmount.Capacity{Total: 1000, Used: 600, Available: 400},
	}, nil
}

// Attributes returns the test's own user for every layer.
func (w *World) Attributes(_ context.Context, dir string, _ hostmount.Form) (hostmount.Attributes, error) {
	w.Mu.Lock()
	defer w.Mu.Unlock()
	if _, err := os.Stat(dir); !strings.HasPrefix(dir, "/layers/") && err != nil {
		return hostmount.Attributes{}, os.ErrNotExist
	}
	return hostmount.Attributes{UID: uint32(os.Getuid()), GID: uint32(os.Getgid()), Mode: 0o2551}, nil
}

// Limit limits the directories by their inodes, as the kernel does.
func (w *World) Limit(_ context.Context, l hostmount.Limit) error {
	w.Mu.Lock()
	defer w.Mu.Unlock()
	return w.Act("limit", func() error {
		if w.Limits == nil {
			return hostmount.ErrNoQuota
		}
		for _, dir := range []string{l.Work, l.Upper} {
			inode, err := inodeOf(dir)
			if err != nil {
				return err
			}
			w.Limits[inode] = l.Bytes
		}
		return nil
	})
}

// Limited notes a look at a directory that a pod may change as broken.
func (w *World) Limited(_ context.Context, dir string) (bytes, inodes hostmount.Capacity, ok bool, err error) {
	w.Mu.Lock()
	defer w.Mu.Unlock()
	if filepath.Base(dir) != "work" {
		w.Broken = append(w.Broken, "a limit was read from "+dir+", which a pod may change")
	}
	inode, err := inodeOf(dir)
	if err == nil {
		err = w.Act("limited", func() error { return nil })
	}
	limit, ok := w.Limits[inode]
	return hostmount.Capacity{Total: limit, Used: 1, Available: limit - 1}, hostmount.Capacity{Total: 10, Used: 1, Available: 9}, ok, err
}

// Unlimit takes the limit of the work directory, and of the upper one, which has the same project.
func (w *World) Unlimit(_ context.Context, work string) error {
	if w.OnUnlimit != nil {
		w.OnUnlimit()
	}
	w.Mu.Lock()
	defer w.Mu.Unlock()
	return w.Act("unlimit", func() error {
		for _, d := range []string{work, filepath.Join(filepath.Dir(work), "upper")} {
			if inode, err := inodeOf(d); err == nil {
				delete(w.Limits, inode)
			}
		}
		return nil
	})
}

func inodeOf(path string) (uint64, error) {
	info, err := os.Stat(path)
	if err != nil {
		return 0, err
	}
	return info.Sys().(*syscall.Stat_t).Ino, nil
}
