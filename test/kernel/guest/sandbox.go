package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"

	"github.com/containerd/containerd/v2/pkg/oci"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/image-csi/image-csi-operator/internal/sandbox"
	"github.com/image-csi/image-csi-operator/internal/sandboxprobe"
)

// Types of SELinux of pods that make sandboxes: the first may in Fedora's and Red Hat's policy, the second may not.
const (
	engineLabel    = "system_u:system_r:container_engine_t:s0:c7,c8"
	containerLabel = "system_u:system_r:container_t:s0:c7,c8"
)

// sandboxSteps are those of a cell with SELinux whose node plugin shows EROFS files.
func sandboxSteps(c cell) []step {
	if fileRefusal(c) != "" {
		return nil
	}
	return []step{{"a pod makes a sandbox whose root directory is an EROFS file, if SELinux lets its type", sandboxes}}
}

func sandboxes(c cell) error {
	defer os.RemoveAll(filepath.Dir(filePath))
	if err := c.inPlugin("show-file"); err != nil {
		return err
	}
	err := c.makesSandbox(containerLabel)
	if err == nil || !strings.Contains(err.Error(), "mounting the sandbox's /proc: permission denied") {
		err = fmt.Errorf("container_t makes sandboxes: %w", errors.Join(err, errors.New("(that)")))
	} else {
		err = nil
	}
	return errors.Join(err, c.makesSandbox(engineLabel), imageIsWhole(), c.inPlugin("hide-file"))
}

func (c cell) makesSandbox(label string) error {
	pod := podContainer(target(fileVolume), true, user, "sandbox")
	pod.label, pod.files, pod.ownUsers, pod.sandboxes = label, c.podFiles, true, true
	return ended(pod.run())
}

// letMakeSandboxes gives a container what a pod has that makes sandboxes: the seccomp profile, an unmasked /proc, a directory to mount on.
func letMakeSandboxes(spec *oci.Spec) error {
	spec.Linux.MaskedPaths, spec.Linux.ReadonlyPaths = nil, nil
	spec.Mounts = append(spec.Mounts, specs.Mount{Destination: "/tmp", Source: "tmpfs", Type: "tmpfs", Options: []string{"nosuid", "nodev", "mode=1777"}})
	spec.Linux.Seccomp = new(specs.LinuxSeccomp)
	return json.Unmarshal(sandbox.Profile(runtime.GOARCH), spec.Linux.Seccomp)
}

// makeSandbox starts the program again in namespaces of its own, as bubblewrap does.
func makeSandbox() error {
	inside := exec.Command("/proc/self/exe", rolePod, "enter-sandbox")
	ids := []syscall.SysProcIDMap{{ContainerID: user, HostID: user, Size: 1}}
	inside.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  unix.CLONE_NEWUSER | unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWNET | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS,
		UidMappings: ids, GidMappings: ids, AmbientCaps: []uintptr{unix.CAP_SYS_ADMIN},
	}
	if said, err := inside.CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, said)
	}
	return nil
}

// enterSandbox makes the volume the root directory, with a /proc of its own, and goes on as a program of the image.
func enterSandbox() error {
	const root = "/tmp/root"
	for _, part := range []struct {
		attempt string
		do      func() error
	}{
		{"taking the mounts from the container", func() error { return unix.Mount("", "/", "", unix.MS_SLAVE|unix.MS_REC, "") }},
		{"mounting a file system in memory", func() error { return unix.Mount("tmpfs", "/tmp", "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "") }},
		{"binding the volume", func() error {
			return errors.Join(os.Mkdir(root, 0o755), unix.Mount("/volume", root, "", unix.MS_BIND|unix.MS_REC, ""))
		}},
		{"mounting the sandbox's /proc", func() error {
			return unix.Mount("proc", root+"/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "")
		}},
		{"changing the root directory", func() error {
			return errors.Join(unix.Chdir(root), unix.PivotRoot(".", "."), unix.Unmount(".", unix.MNT_DETACH), unix.Chdir("/"))
		}},
		{"dropping capabilities", func() error { return unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) }},
	} {
		if err := part.do(); err != nil {
			return fmt.Errorf("%s: %w", part.attempt, err)
		}
	}
	return syscall.Exec("/tool", []string{"/tool", rolePod, "in-sandbox"}, nil)
}

// inSandbox has the image as its root directory, and nothing else of the pod.
func inSandbox() error {
	own, err := os.ReadFile("/own")
	if err != nil || string(own) != "mine" {
		return fmt.Errorf("the user's own file: %q, %w", own, err)
	}
	processes, err := sandboxprobe.Processes()
	if err != nil {
		return err
	}
	if processes != 1 {
		return fmt.Errorf("/proc shows %d processes", processes)
	}
	_, outside := os.Stat("/volume")
	return errors.Join(expectErr(outside, os.ErrNotExist), expectErr(os.WriteFile("/new", nil, 0o644), unix.EROFS),
		expectErr(os.WriteFile("/proc/sys/kernel/core_pattern", nil, 0o644), unix.EACCES),
		expectErr(unix.Mount("proc", "/proc", "proc", 0, ""), unix.EPERM))
}
