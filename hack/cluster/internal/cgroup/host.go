package cgroup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
)

// Root is where Linux systems mount their control groups.
const Root = "/sys/fs/cgroup"

// Host is the machine's control group hierarchies.
type Host struct {
	Unified     bool // one hierarchy, version 2
	hierarchies []hierarchy
}

// hierarchy is one mounted hierarchy, of version 1 or 2.
type hierarchy struct {
	dir     string // where it is mounted
	options string // version 1: what to mount it by, e.g. "cpu,cpuacct" or "none,name=systemd"
}

// Detect finds the hierarchies of this machine.
func Detect() (Host, error) {
	var fsType unix.Statfs_t
	if err := unix.Statfs(Root, &fsType); err != nil {
		return Host{}, fmt.Errorf("look at control groups: %w; mount them on %s", err, Root)
	}
	if fsType.Type == unix.CGROUP2_SUPER_MAGIC {
		return Host{Unified: true, hierarchies: []hierarchy{{dir: Root}}}, nil
	}
	mounts, err := mountinfo.GetMounts(mountinfo.FSTypeFilter("cgroup"))
	if err != nil {
		return Host{}, fmt.Errorf("list control group mounts: %w", err)
	}
	host := fromMounts(mounts)
	if len(host.hierarchies) == 0 {
		return Host{}, fmt.Errorf("no control groups are mounted on %s; nodes need them", Root)
	}
	return host, nil
}

func fromMounts(mounts []*mountinfo.Info) Host {
	var host Host
	for _, m := range mounts {
		if filepath.Dir(m.Mountpoint) != Root {
			continue
		}
		host.hierarchies = append(host.hierarchies, hierarchy{dir: m.Mountpoint, options: mountOptions(m.VFSOptions)})
	}
	return host
}

// mountOptions keeps of a hierarchy's options those that say which one it is.
func mountOptions(vfsOptions string) string {
	var kept []string
	for option := range strings.SplitSeq(vfsOptions, ",") {
		name, _, _ := strings.Cut(option, "=")
		switch {
		case name == "name":
			kept = append(kept, "none", option)
		case !slices.Contains([]string{"rw", "ro", "xattr", "noprefix", "clone_children", "release_agent", "nsroot", "seclabel"}, name):
			kept = append(kept, option)
		}
	}
	return strings.Join(kept, ",")
}

// Controllers lists the controllers that have a hierarchy of version 1.
func (h Host) Controllers() []string {
	var names []string
	for _, hierarchy := range h.hierarchies {
		for option := range strings.SplitSeq(hierarchy.options, ",") {
			if option != "none" && !strings.HasPrefix(option, "name=") {
				names = append(names, option)
			}
		}
	}
	return names
}

// Create makes the group, e.g. "imagecsi-demo/worker-1", in every hierarchy.
func (h Host) Create(group string) error {
	for _, hierarchy := range h.hierarchies {
		if err := h.createIn(hierarchy, group); err != nil {
			return fmt.Errorf("make control group %s: %w", filepath.Join(hierarchy.dir, group), err)
		}
	}
	return nil
}

func (h Host) createIn(in hierarchy, group string) error {
	dir := in.dir
	for part := range strings.SplitSeq(group, "/") {
		if h.Unified {
			if err := enableControllers(dir); err != nil {
				return err
			}
		}
		parent := dir
		dir = filepath.Join(dir, part)
		if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
		if err := inheritCPUs(parent, dir); err != nil {
			return err
		}
	}
	return nil
}

// inheritCPUs copies the CPUs and memory nodes down: a new cpuset group of version 1 has none, and takes no process
// before it has.
func inheritCPUs(parent, dir string) error {
	for _, name := range []string{"cpuset.cpus", "cpuset.mems"} {
		target := filepath.Join(dir, name)
		if current, err := os.ReadFile(target); err != nil || len(strings.TrimSpace(string(current))) > 0 {
			continue // not a cpuset hierarchy, or filled before
		}
		value, err := os.ReadFile(filepath.Join(parent, name))
		if err != nil || len(strings.TrimSpace(string(value))) == 0 {
			continue // version 2: empty means the parent's
		}
		if err := os.WriteFile(target, value, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// needed are the controllers without which a kubelet or a container runtime does not start.
var needed = []string{"cpu", "cpuset", "memory", "pids"}

// enableControllers gives the groups below dir every controller that dir has. One at a time, because a controller that
// cannot be enabled (bound to a hierarchy of version 1, say) must not keep the others away. It fails if a needed one is
// not to be had; in a container with a control group namespace that is because of the container's own processes.
func enableControllers(dir string) error {
	content, err := os.ReadFile(filepath.Join(dir, "cgroup.controllers"))
	if err != nil {
		return err
	}
	available := strings.Fields(string(content))
	for _, name := range needed {
		if !slices.Contains(available, name) {
			return fmt.Errorf("%s has no controller %s, which nodes need; enable it above, or run this outside the container", dir, name)
		}
	}
	for _, name := range available {
		err := os.WriteFile(filepath.Join(dir, "cgroup.subtree_control"), []byte("+"+name), 0o644)
		switch {
		case err == nil || !slices.Contains(needed, name):
		case errors.Is(err, unix.EBUSY):
			return fmt.Errorf("enable controller %s below %s: %w: the processes in it are in the way; move them to a group below it, "+
				"or run this outside the container (or in one with the host's control group namespace)", name, dir, err)
		default:
			return fmt.Errorf("enable controller %s below %s: %w", name, dir, err)
		}
	}
	return nil
}

// Join moves the calling process into the group. It writes 0, which means the writer whatever pid namespace it is in.
func (h Host) Join(group string) error {
	for _, hierarchy := range h.hierarchies {
		file := filepath.Join(hierarchy.dir, group, "cgroup.procs")
		if err := os.WriteFile(file, []byte("0"), 0o644); err != nil {
			return fmt.Errorf("join control group: %w", err)
		}
	}
	return nil
}

// Remove removes the group and all below it. Its processes must have been killed; their leaving takes a moment.
func (h Host) Remove(ctx context.Context, group string) error {
	for _, hierarchy := range h.hierarchies {
		dir := filepath.Join(hierarchy.dir, group)
		for {
			err := removeTree(dir)
			if err == nil {
				break
			}
			if ctx.Err() != nil {
				return fmt.Errorf("remove control group: %w", err)
			}
			time.Sleep(10 * time.Millisecond)
		}
	}
	return nil
}

// removeTree removes directories only, deepest first: the files of a control group go with it.
func removeTree(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if !entry.IsDir() {
			continue
		}
		if err := removeTree(filepath.Join(dir, entry.Name())); err != nil {
			return err
		}
	}
	if err := unix.Rmdir(dir); err != nil && !errors.Is(err, unix.ENOENT) {
		return &fs.PathError{Op: "rmdir", Path: dir, Err: err}
	}
	return nil
}
