package hostmount

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/image-csi/image-csi-operator/internal/contract"
	"github.com/image-csi/image-csi-operator/internal/nodeplugin/confinement"
	"github.com/image-csi/image-csi-operator/internal/privileges"
)

// runScenario runs the scenario that the environment names.
func runScenario() int {
	name := os.Getenv(scenarioEnv)
	run, ok := scenarios()[name]
	if !ok {
		fmt.Println("no scenario", name)
		return 1
	}
	if err := run(); err != nil {
		fmt.Println(name+":", err)
		return 1
	}
	return 0
}

func mountOnHostOnly() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	e, err := Open(ctx, pluginConfig())
	if err != nil {
		return err
	}
	o, err := testOverlay("host-only")
	if err != nil {
		return err
	}
	if err := e.MountOverlay(ctx, o); err != nil {
		return err
	}
	if entries, err := os.ReadDir(o.Target); err != nil || len(entries) != 0 {
		return fmt.Errorf("the process's own namespace shows %v: %w", entries, errors.Join(err, errors.New("it must show nothing")))
	}
	if names, err := e.List(ctx, o.Target); err != nil || len(names) == 0 {
		return fmt.Errorf("listing the target on the host shows %v: %w", names, errors.Join(err, errors.New("it must show the layer's files")))
	}
	mounts, err := e.Mounts(ctx)
	if err != nil {
		return err
	}
	if m := topmost(mounts, o.Target); m == nil || m.Source != o.Source {
		return fmt.Errorf("the host's namespace shows %+v", m)
	}
	return errors.Join(e.Unmount(ctx, o.Target), e.Close())
}

func confined() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	e, err := Open(ctx, pluginConfig())
	if err != nil {
		return err
	}
	defer func() { _ = e.Close() }()
	_, err = confinement.Apply(privileges.Serving(contract.AccessReadWrite))
	if errors.Is(err, syscall.ENOTSUP) {
		return nil // a test binary with cgo, as the race detector needs it
	}
	if err != nil {
		return err
	}
	if _, err := Open(ctx, pluginConfig()); err == nil || !strings.Contains(err.Error(), "SYS_PTRACE") {
		return fmt.Errorf("the namespace can be entered again: %w", err)
	}
	return mountMany(ctx, e)
}

func mountMany(ctx context.Context, e *Engine) error {
	var wg sync.WaitGroup
	errs := make(chan error, 20)
	for i := range cap(errs) {
		o, err := testOverlay(fmt.Sprint(i))
		if err != nil {
			return err
		}
		wg.Go(func() { errs <- errors.Join(e.MountOverlay(ctx, o), e.Unmount(ctx, o.Target)) })
	}
	wg.Wait()
	close(errs)
	var all error
	for err := range errs {
		all = errors.Join(all, err)
	}
	return all
}

func missingCapability() error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var sets [2]unix.CapUserData
	if err := unix.Capget(&header, &sets[0]); err != nil {
		return err
	}
	const c = unix.CAP_SYS_PTRACE
	sets[c/32].Effective &^= 1 << (c % 32)
	err := withCapabilities(header, sets, func() error {
		_, err := unix.Open(filepath.Join(os.Getenv(namespaceEnv), "mnt"), unix.O_RDONLY|unix.O_CLOEXEC, 0)
		return explain("opening", err, unix.CAP_SYS_PTRACE)
	})
	if err == nil || !strings.Contains(err.Error(), "lacks capability SYS_PTRACE, add SYS_PTRACE") {
		return fmt.Errorf("got %w", err)
	}
	return nil
}

// withCapabilities runs f on a thread that has the given sets, and ends the thread.
func withCapabilities(header unix.CapUserHeader, sets [2]unix.CapUserData, f func() error) error {
	result := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		if err := unix.Capset(&header, &sets[0]); err != nil {
			result <- err
			return
		}
		result <- f()
	}()
	return <-result
}

// checkWith runs the self test after something was changed in a container or on its node. The complaint is all that
// it may say; empty: nothing.
func checkWith(change func(*Config) error, complaint string) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	dir := filepath.Join(os.Getenv("TMPDIR"), "plugins")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	config := pluginConfig()
	if change != nil {
		if err := change(&config); err != nil {
			return err
		}
	}
	e, err := Open(ctx, config)
	if err != nil {
		return err
	}
	defer func() { _ = e.Close() }()
	killed, err := e.beneathRoot(filepath.Join(dir, probePrefix+"killed"))
	if err != nil {
		return err
	}
	if err := e.do(ctx, func() error { return e.mountProbe(killed) }); err != nil {
		return err
	}
	err = e.Check(ctx, dir, dir)
	if (complaint == "" && err != nil) || (complaint != "" && (err == nil || !strings.Contains(err.Error(), complaint))) {
		return fmt.Errorf("got %w", err)
	}
	return onlyAnEmptyProbe(ctx, e, dir)
}

// onlyAnEmptyProbe fails if checks have left more in a directory than one to mount on, or a mount.
func onlyAnEmptyProbe(ctx context.Context, e *Engine, dir string) error {
	left, err := e.List(ctx, dir)
	if err != nil || len(left) > 1 {
		return fmt.Errorf("the check left %v (%w)", left, err)
	}
	mounts, err := e.Mounts(ctx)
	if err != nil {
		return err
	}
	for _, m := range mounts {
		if filepath.Dir(m.Target) == dir {
			return fmt.Errorf("the check left %v", m)
		}
	}
	return nil
}

func withPropagation(propagation uintptr) func(*Config) error {
	return func(*Config) error { return unix.Mount("", "/", "", unix.MS_REC|propagation, "") }
}

// nodesMountPrivate makes the node's mount of the kubelet's root private.
func nodesMountPrivate(config *Config) error {
	e, err := Open(context.Background(), *config)
	if err != nil {
		return err
	}
	defer func() { _ = e.Close() }()
	return e.do(context.Background(), func() error { return unix.Mount("", config.Root, "", unix.MS_PRIVATE, "") })
}

// strangersNamespace puts the mount namespace of another process in the place of the node's. All in it is shared.
func strangersNamespace(config *Config) error {
	stranger := exec.Command("/proc/self/exe", "-test.run=^$")
	stranger.Env = append(os.Environ(), roleEnv+"="+roleStranger)
	stranger.SysProcAttr = &syscall.SysProcAttr{Unshareflags: unix.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	ready, err := stranger.StdoutPipe()
	if err != nil {
		return err
	}
	if err := stranger.Start(); err != nil {
		return err
	}
	if _, err := ready.Read(make([]byte, 1)); err != nil {
		return fmt.Errorf("the stranger: %w", err)
	}
	config.NamespaceDir = fmt.Sprintf("/proc/%d/ns", stranger.Process.Pid)
	return nil
}

// stranger shares its mounts and waits to be killed.
func stranger() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SHARED, ""); err != nil {
		return err
	}
	fmt.Println("ready")
	time.Sleep(time.Minute)
	return nil
}

func ownNamespace(config *Config) error {
	config.NamespaceDir = "/proc/self/ns"
	return nil
}

// anotherDirectory hides the kubelet's root from the container.
func anotherDirectory(config *Config) error {
	return errors.Join(unix.Mount("tmpfs", config.Root, "tmpfs", 0, ""), os.Mkdir(filepath.Join(config.Root, "plugins"), 0o755))
}

func wrongNamespace() error {
	config := pluginConfig()
	for _, dir := range []string{"/nonexistent", "/proc/self/net"} {
		config.NamespaceDir = dir
		if _, err := Open(context.Background(), config); !errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("%s: got %w", dir, err)
		}
	}
	return nil
}
