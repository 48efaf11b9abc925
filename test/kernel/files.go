package main

import (
	"bytes"
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// modules are what the tests need of a kernel, where it is not built in.
func modules() []string {
	return []string{"nvme", "ext4", "overlay", "erofs", "loop", "quota_v2", "xfs"}
}

// kernelFiles are what a machine boots from.
type kernelFiles struct {
	release string
	image   string
	initrd  string
}

// unpack fetches the kernel and makes its initial file system: the guest program and modules in the order of loading.
func (k kernel) unpack(ctx context.Context, dir, guest string) (kernelFiles, error) {
	archives, err := fetch(ctx, "kernel", "suite="+k.suite, "linux-image-cloud-amd64")
	if err != nil {
		return kernelFiles{}, err
	}
	root := filepath.Join(dir, "root")
	if err := unpackInto(ctx, root, archives); err != nil {
		return kernelFiles{}, err
	}
	images, err := find(root, func(name string) bool { return strings.HasPrefix(name, "vmlinuz") })
	if err != nil || len(images) != 1 {
		return kernelFiles{}, fmt.Errorf("the packages hold the kernels %v: %w", images, err)
	}
	files := kernelFiles{image: images[0], initrd: filepath.Join(dir, "initrd")}
	initial := filepath.Join(dir, "initial")
	if err := os.MkdirAll(filepath.Join(initial, "modules"), 0o755); err != nil {
		return files, err
	}
	copier := moduleCopier{root: root, to: filepath.Join(initial, "modules"), done: map[string]bool{}}
	for _, name := range modules() {
		if err := copier.copy(ctx, name); err != nil {
			return files, err
		}
	}
	files.release = copier.release()
	if err := command(ctx, "cp", guest, filepath.Join(initial, "init")); err != nil {
		return files, err
	}
	return files, shell(ctx, initial, `find . | cpio --quiet -o -H newc >`+files.initrd)
}

// moduleCopier copies modules after those that they depend on, with names in that order.
type moduleCopier struct {
	root, to string
	done     map[string]bool
}

func (c moduleCopier) copy(ctx context.Context, name string) error {
	if c.done[name] {
		return nil
	}
	c.done[name] = true
	found, err := find(c.root, func(file string) bool {
		base, _, ok := strings.Cut(file, ".ko")
		return ok && strings.ReplaceAll(base, "-", "_") == name
	})
	if err != nil || len(found) == 0 {
		return err // it is built in, or booting will tell
	}
	content, err := os.ReadFile(found[0])
	if err != nil {
		return err
	}
	if strings.HasSuffix(found[0], ".xz") {
		if content, err = exec.CommandContext(ctx, "xz", "-dc", found[0]).Output(); err != nil {
			return fmt.Errorf("uncompressing %s: %w", found[0], err)
		}
	}
	needs, err := dependencies(content)
	if err != nil {
		return fmt.Errorf("reading %s: %w", found[0], err)
	}
	for _, needed := range needs {
		if err := c.copy(ctx, needed); err != nil {
			return err
		}
	}
	copied, err := os.ReadDir(c.to)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(c.to, fmt.Sprintf("%02d-%s.ko", len(copied), name)), content, 0o644)
}

// release is the kernel's, by which the directory of its modules is named.
func (c moduleCopier) release() string {
	dirs, _ := filepath.Glob(filepath.Join(c.root, "lib/modules/*"))
	merged, _ := filepath.Glob(filepath.Join(c.root, "usr/lib/modules/*"))
	if dirs = append(dirs, merged...); len(dirs) != 1 {
		return "unknown"
	}
	return filepath.Base(dirs[0])
}

// dependencies are the names of modules that a module says it needs.
func dependencies(module []byte) ([]string, error) {
	file, err := elf.NewFile(bytes.NewReader(module))
	if err != nil {
		return nil, err
	}
	section := file.Section(".modinfo")
	if section == nil {
		return nil, errors.New("it says nothing about itself")
	}
	info, err := section.Data()
	if err != nil {
		return nil, err
	}
	for field := range strings.SplitSeq(string(info), "\x00") {
		if list, ok := strings.CutPrefix(field, "depends="); ok && list != "" {
			return strings.Split(strings.ReplaceAll(list, "-", "_"), ","), nil
		}
	}
	return nil, nil
}

// find returns the files beneath a directory whose name fits.
func find(root string, fits func(name string) bool) ([]string, error) {
	var found []string
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.Type().IsRegular() && fits(entry.Name()) {
			found = append(found, path)
		}
		return err
	})
	return found, err
}

// fetch downloads Debian packages, or finds them in the cache.
func fetch(ctx context.Context, args ...string) ([]string, error) {
	cmd := exec.CommandContext(ctx, "../hack/debian/fetch.sh", args...)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("fetching Debian packages: %w", err)
	}
	return strings.Fields(string(out)), nil
}

func unpackInto(ctx context.Context, dir string, archives []string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for _, archive := range archives {
		if err := command(ctx, "dpkg-deb", "-x", archive, dir); err != nil {
			return err
		}
	}
	return nil
}

func shell(ctx context.Context, dir, script string) error {
	return command(ctx, "sh", "-c", "cd "+dir+" && "+script)
}

func command(ctx context.Context, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, out)
	}
	return nil
}
