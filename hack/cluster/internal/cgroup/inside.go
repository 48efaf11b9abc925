package cgroup

import (
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// initGroup is where a node's own programs live under version 2, in which a group with controllers for its children
// cannot have processes itself.
const initGroup = "init"

// Mount mounts the hierarchies below the directory that will be a node's /sys/fs/cgroup. The caller is in the node's
// group and in a new cgroup namespace, so that what it sees starts at that group.
func (h Host) Mount(root string) error {
	if h.Unified {
		return h.mountUnified(root)
	}
	if err := unix.Mount("cgroup", root, "tmpfs", 0, "mode=755"); err != nil {
		return fmt.Errorf("mount a directory for control groups: %w", err)
	}
	for _, hierarchy := range h.hierarchies {
		target := filepath.Join(root, filepath.Base(hierarchy.dir))
		if err := os.Mkdir(target, 0o755); err != nil {
			return err
		}
		if err := unix.Mount("cgroup", target, "cgroup", 0, hierarchy.options); err != nil {
			return fmt.Errorf("mount control group hierarchy %s: %w", hierarchy.options, err)
		}
	}
	return copyLinks(root)
}

// copyLinks repeats names such as cpu -> cpu,cpuacct.
func copyLinks(root string) error {
	entries, err := os.ReadDir(Root)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if entry.Type()&os.ModeSymlink == 0 {
			continue
		}
		target, err := os.Readlink(filepath.Join(Root, entry.Name()))
		if err != nil {
			return err
		}
		if err := os.Symlink(target, filepath.Join(root, entry.Name())); err != nil {
			return err
		}
	}
	return nil
}

func (h Host) mountUnified(root string) error {
	if err := unix.Mount("cgroup2", root, "cgroup2", 0, ""); err != nil {
		return fmt.Errorf("mount control groups: %w", err)
	}
	group := filepath.Join(root, initGroup)
	if err := os.Mkdir(group, 0o755); err != nil && !os.IsExist(err) {
		return err
	}
	if err := os.WriteFile(filepath.Join(group, "cgroup.procs"), []byte("0"), 0o644); err != nil {
		return fmt.Errorf("move init to its own control group: %w", err)
	}
	return enableControllers(root)
}

// Inner is the group that commands entering a node join, given the node's group.
func (h Host) Inner(group string) string {
	if h.Unified {
		return filepath.Join(group, initGroup)
	}
	return group
}
