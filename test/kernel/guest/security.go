package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Files of the disk that the machine's owner made.
const (
	selinuxPolicy    = "/etc/imagecsi/selinux.policy"
	appArmorProfiles = "/etc/imagecsi/*.apparmor"
)

// Names of the AppArmor profiles that the disk holds compiled: containerd's default one, and the node plugin's own.
const (
	defaultProfile = "cri-containerd.apparmor.d"
	ownProfile     = "imagecsi-node-plugin"
)

// labels of the disk's files, the deepest directory last.
var labels = []struct{ path, label string }{
	{"/", "os_t"},
	{"/srv/rootfs", "data_t"},
	{"/usr/bin/guest", "init_exec_t"},
	{"/usr/bin/runc", "runtime_exec_t"},
	{"/var/lib", "container_file_t"},
	{"/var/lib/containerd", "cache_t"},
}

// startSELinux loads the policy and labels the disk where the machine was booted with SELinux. Nothing is enforced
// until the host says so.
func startSELinux() error {
	if securityModule() != "selinux" {
		return nil
	}
	if err := unix.Mount("selinuxfs", "/sys/fs/selinux", "selinuxfs", 0, ""); err != nil {
		return fmt.Errorf("mounting selinuxfs: %w", err)
	}
	policy, err := os.ReadFile(selinuxPolicy)
	if err != nil {
		return err
	}
	if err := writeAtOnce("/sys/fs/selinux/load", policy); err != nil {
		return fmt.Errorf("loading the SELinux policy: %w", err)
	}
	for _, l := range labels {
		if err := os.MkdirAll(l.path, 0o755); err != nil && !errors.Is(err, unix.ENOTDIR) {
			return err
		}
		if err := label(l.path, "system_u:object_r:"+l.label+":s0"); err != nil {
			return err
		}
	}
	return nil
}

// label gives a file, or all of a directory on its file system, a label.
func label(path, context string) error {
	return filepath.WalkDir(path, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() && (path == "/proc" || path == "/sys" || path == "/dev") {
			return fs.SkipDir
		}
		return unix.Lsetxattr(path, "security.selinux", []byte(context), 0)
	})
}

func enforceSELinux() error {
	current, err := os.ReadFile("/proc/self/attr/current")
	if err != nil {
		return err
	}
	if !strings.HasPrefix(string(current), "system_u:system_r:init_t:") {
		return fmt.Errorf("the first process has the label %s", current)
	}
	return writeAtOnce("/sys/fs/selinux/enforce", []byte("1"))
}

func startAppArmor() error {
	if err := mountNew("securityfs", "/sys/kernel/security", "securityfs"); err != nil {
		return err
	}
	files, err := filepath.Glob(appArmorProfiles)
	if err != nil || len(files) == 0 {
		return fmt.Errorf("there are no AppArmor profiles: %w", err)
	}
	for _, file := range files {
		profile, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		if err := writeAtOnce("/sys/kernel/security/apparmor/.replace", profile); err != nil {
			return fmt.Errorf("loading the AppArmor profile %s: %w", file, err)
		}
	}
	return nil
}

// writeAtOnce writes in one system call, as the kernel's own files want it.
func writeAtOnce(name string, content []byte) error {
	file, err := os.OpenFile(name, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer file.Close()
	_, err = unix.Write(int(file.Fd()), content)
	return err
}

// denials are what the kernel logged of denied accesses.
func denials() []string {
	log := make([]byte, 1<<20)
	n, err := unix.Klogctl(unix.SYSLOG_ACTION_READ_ALL, log)
	if err != nil {
		return []string{err.Error()}
	}
	var found []string
	for line := range strings.Lines(string(log[:n])) {
		if strings.Contains(line, "avc:  denied") || strings.Contains(line, `apparmor="DENIED"`) {
			found = append(found, strings.TrimSpace(line))
		}
	}
	return found
}
