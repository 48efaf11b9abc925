package hostmount

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// scenarioEnv names the scenario that a confined process runs instead of the tests.
const scenarioEnv = "IMAGECSI_TEST_SCENARIO"

// pluginCapabilities are those of the node plugin's container in Nsenter mode.
var pluginCapabilities = []uintptr{
	unix.CAP_SYS_ADMIN, unix.CAP_SYS_CHROOT, unix.CAP_SYS_PTRACE, unix.CAP_DAC_OVERRIDE, unix.CAP_CHOWN,
	unix.CAP_FOWNER, unix.CAP_SETFCAP, unix.CAP_MKNOD, unix.CAP_FSETID,
}

// The whole suite runs again as the node plugin does: confined, in a mount namespace that receives the host's mounts,
// on engines that mount in the host's. This test process is the host.
func TestTheSuiteAsANodePlugin(t *testing.T) {
	needHost(t)
	out, err := pluginProcess(sharedDir(t), "", "-test.v", "-test.timeout=5m").CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if !strings.Contains(string(out), "--- PASS: TestOverlayShowsEveryLayer") {
		t.Errorf("the suite did not run:\n%s", out)
	}
}

func TestScenariosAsANodePlugin(t *testing.T) {
	needHost(t)
	for name := range scenarios() {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if name != "mounts are made on the host only" {
				dir = sharedDir(t)
			}
			if out, err := pluginProcess(dir, name).CombinedOutput(); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
		})
	}
}

// needHost skips inside a confined process: only the first one starts others.
func needHost(t *testing.T) {
	t.Helper()
	needMounts(t)
	if os.Getenv(roleEnv) == rolePlugin {
		t.SkipNow()
	}
}

// sharedDir is a directory in which mounts propagate to namespaces made later.
func sharedDir(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount(dir, dir, "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	if err := unix.Mount("", dir, "", unix.MS_SHARED, ""); err != nil {
		t.Fatal(err)
	}
	return dir
}

// pluginProcess is a confined copy of this process that takes this process's mount namespace for the host's.
func pluginProcess(dir, scenario string, args ...string) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.Env = append(os.Environ(), roleEnv+"="+roleConfine, scenarioEnv+"="+scenario, "TMPDIR="+dir,
		fmt.Sprintf("%s=/proc/%d/ns", namespaceEnv, os.Getpid()))
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	return cmd
}

// confine makes the process's mounts receivers of the host's, leaves it the node plugin's capabilities and
// no_new_privs, and executes it again. It returns only on failure.
func confine() error {
	runtime.LockOSThread()
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SLAVE, ""); err != nil {
		return fmt.Errorf("making all mounts receivers: %w", err)
	}
	for c := uintptr(0); ; c++ {
		if slices.Contains(pluginCapabilities, c) {
			continue
		}
		if err := unix.Prctl(unix.PR_CAPBSET_DROP, c, 0, 0, 0); errors.Is(err, unix.EINVAL) {
			break
		} else if err != nil {
			return fmt.Errorf("dropping capability %d: %w", c, err)
		}
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	if err := os.Setenv(roleEnv, rolePlugin); err != nil {
		return err
	}
	return syscall.Exec("/proc/self/exe", os.Args, os.Environ())
}

// scenarios are what a confined process does outside the suite, because it changes the process.
func scenarios() map[string]func() error {
	return map[string]func() error{
		"mounts are made on the host only":                   mountOnHostOnly,
		"a confined process mounts, and enters no namespace": confined,
		"a missing capability is named":                      missingCapability,
		"the check passes with propagation":                  func() error { return checkWith(nil, "") },
		"the check needs propagation":                        func() error { return checkWith(withPropagation(unix.MS_PRIVATE), "HostToContainer") },
		"the check needs the node's mount shared":            func() error { return checkWith(nodesMountPrivate, "mount --make-rshared "+os.Getenv("TMPDIR")+"`") },
		"the check needs the node's namespace":               func() error { return checkWith(strangersNamespace, "it is not the node's namespace") },
		"the check needs another namespace":                  func() error { return checkWith(ownNamespace, "this container's own mount namespace") },
		"the check needs the node's directory":               func() error { return checkWith(anotherDirectory, "is not the node's directory") },
		"a wrong namespace directory is told":                wrongNamespace,
	}
}

func pluginConfig() Config {
	return Config{NamespaceDir: os.Getenv(namespaceEnv), Root: os.Getenv("TMPDIR")}
}

// testOverlay makes two layers and describes an overlay of them.
func testOverlay(name string) (Overlay, error) {
	dir := os.Getenv("TMPDIR")
	o := Overlay{Source: "imagecsi:scenario", Target: filepath.Join(dir, "pods", name)}
	for i := range 2 {
		layer := filepath.Join(dir, "layers", fmt.Sprint(i))
		if err := os.MkdirAll(layer, 0o755); err != nil {
			return o, err
		}
		if err := os.WriteFile(filepath.Join(layer, fmt.Sprint(i)), nil, 0o644); err != nil {
			return o, err
		}
		o.Layers = append(o.Layers, layer)
	}
	return o, nil
}
