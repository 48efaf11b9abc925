package sandboxprobe

import (
	"errors"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// mostProcesses are in the sandbox: the one that built it, and the one that looks.
const mostProcesses = 2

// Look returns an error if this process, which is in the sandbox, can do or see what it must not.
func Look() error {
	for _, look := range []func() error{seesItsOwnProcesses, writesNothing, hasNoCapability} {
		if err := look(); err != nil {
			return &failure{isolate, err}
		}
	}
	return nil
}

func seesItsOwnProcesses() error {
	processes, err := Processes()
	if err != nil {
		return err
	}
	if processes == 0 || processes > mostProcesses {
		return fmt.Errorf("/proc shows %d processes", processes)
	}
	return nil
}

// Processes returns how many processes /proc shows.
func Processes() (int, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return 0, err
	}
	processes := 0
	for _, entry := range entries {
		if _, err := strconv.Atoi(entry.Name()); err == nil {
			processes++
		}
	}
	return processes, nil
}

// writesNothing tries what the kernel and the read-only root refuse.
func writesNothing() error {
	for _, file := range []string{"/proc/sys/kernel/core_pattern", "/proc/sys/vm/drop_caches", "/proc/sysrq-trigger"} {
		opened, err := os.OpenFile(file, os.O_WRONLY, 0)
		if err == nil {
			_ = opened.Close()
			return fmt.Errorf("%s can be written", file)
		}
	}
	if err := unix.Mkdir("/imagecsi-probe", 0o755); !errors.Is(err, unix.EROFS) {
		return fmt.Errorf("a directory is made in the read-only root directory: %v", err) //nolint:errorlint // it may be none
	}
	if err := os.WriteFile("/tmp/probe", []byte("x"), 0o600); err != nil { //nolint:gosec // a tmpfs that nobody else sees
		return fmt.Errorf("the sandbox has no /tmp of its own: %w", err)
	}
	null, err := os.OpenFile("/dev/null", os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	return null.Close()
}

func hasNoCapability() error {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return err
	}
	if got := fieldOf(string(status), "CapEff"); got != "0000000000000000" {
		return fmt.Errorf("the sandbox's program has capabilities %s", got)
	}
	return nil
}
