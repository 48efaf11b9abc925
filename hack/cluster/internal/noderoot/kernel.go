package noderoot

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/image-csi/image-csi-operator/hack/cluster/internal/cgroup"
)

// Directories of ours in a node's /run.
const (
	fakesDir    = "run/imagecsi/fakes"
	fullProcDir = "run/imagecsi/proc"
)

// sysctls are what the kubelet sets when they differ. They belong to the whole machine, so a node is shown the wanted
// values instead.
var sysctls = map[string]string{
	"vm/overcommit_memory":      "1",
	"vm/panic_on_oom":           "0",
	"kernel/panic":              "10",
	"kernel/panic_on_oops":      "1",
	"kernel/keys/root_maxkeys":  "1000000",
	"kernel/keys/root_maxbytes": "25000000",
}

// mountKernel mounts /proc, /sys and the control groups.
func mountKernel(root string, groups cgroup.Host) error {
	if err := mount("proc", filepath.Join(root, "proc"), "proc", ""); err != nil {
		return err
	}
	if err := mount("sysfs", filepath.Join(root, "sys"), "sysfs", ""); err != nil {
		return err
	}
	if err := groups.Mount(filepath.Join(root, "sys/fs/cgroup")); err != nil {
		return err
	}
	// The kernel lets a user namespace mount a procfs only where one is visible with nothing mounted over its
	// parts, as the fakes are over the node's own. This one is.
	if err := mount("proc", filepath.Join(root, fullProcDir), "proc", ""); err != nil {
		return err
	}
	for name, value := range sysctls {
		if err := fake(root, filepath.Join("proc/sys", name), value+"\n"); err != nil {
			return err
		}
	}
	return fakeControllers(root, groups)
}

// fakeControllers shows controllers without a hierarchy as disabled. The kernel calls them enabled, CRI-O believes it,
// and runc then fails to set their limits.
func fakeControllers(root string, groups cgroup.Host) error {
	if groups.Unified {
		return nil
	}
	content, err := os.ReadFile("/proc/cgroups")
	if err != nil {
		return err
	}
	return fake(root, "proc/cgroups", disableMissing(string(content), groups.Controllers()))
}

// disableMissing sets the last column, "enabled", of /proc/cgroups to 0 for each controller that is not mounted.
func disableMissing(table string, mounted []string) string {
	lines := strings.SplitAfter(table, "\n")
	for i, line := range lines {
		name, _, found := strings.Cut(line, "\t")
		if !found || strings.HasPrefix(line, "#") || slices.Contains(mounted, name) {
			continue
		}
		lines[i] = strings.TrimSuffix(line, "\t1\n")
		if lines[i] != line {
			lines[i] += "\t0\n"
		}
	}
	return strings.Join(lines, "")
}

// fake shows a file with this content in place of one of the kernel's, if the kernel has it.
func fake(root, path, content string) error {
	target := filepath.Join(root, path)
	if _, err := os.Stat(target); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	source := filepath.Join(root, fakesDir, strings.ReplaceAll(path, "/", "_"))
	if err := os.MkdirAll(filepath.Dir(source), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(source, []byte(content), 0o644); err != nil {
		return err
	}
	if err := unix.Mount(source, target, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("show a value at /%s: %w", path, err)
	}
	return nil
}
