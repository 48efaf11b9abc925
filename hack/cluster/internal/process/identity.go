package process

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Identity names one process for good: a process id is used again, an id with a start time within one boot is not.
type Identity struct {
	PID        int    `json:"pid"`
	StartTicks uint64 `json:"startTicks"` // field 22 of /proc/PID/stat: clock ticks since boot
	BootID     string `json:"bootID"`
}

// Of returns the identity of the process that has this id now.
func Of(pid int) (Identity, error) {
	stat, err := readStat(pid)
	if err != nil {
		return Identity{}, err
	}
	boot, err := bootID()
	if err != nil {
		return Identity{}, err
	}
	return Identity{PID: pid, StartTicks: stat.startTicks, BootID: boot}, nil
}

// Running reports whether the process still runs. A zombie counts as ended, for its parent may be slow to reap it, but not one
// that other threads have outlived: in the midst of execve(2) the first thread is one, if another thread called it.
func (i Identity) Running() bool {
	return i.matches(func(s stat) bool { return s.threads > 1 || s.state != 'Z' && s.state != 'X' })
}

// matches reports whether the process id still belongs to this process, and accept agrees to what the kernel says of it.
func (i Identity) matches(accept func(stat) bool) bool {
	if i.PID <= 0 {
		return false
	}
	if boot, err := bootID(); err != nil || boot != i.BootID {
		return false
	}
	s, err := readStat(i.PID)
	return err == nil && s.startTicks == i.StartTicks && accept(s)
}

// Kill ends the process with SIGKILL and waits until it is gone with all its threads; for the init of a pid namespace
// that means that every process of the namespace is gone. A process that ended before is no error.
func (i Identity) Kill(ctx context.Context) error {
	if i.PID <= 0 {
		return nil
	}
	// The descriptor pins the process: after the identity has been checked, no other process can get in its place.
	fd, err := unix.PidfdOpen(i.PID, 0)
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("open process %d: %w", i.PID, err)
	}
	defer unix.Close(fd)
	if !i.matches(func(stat) bool { return true }) {
		return nil
	}
	if err := unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("kill process %d: %w", i.PID, err)
	}
	return waitEnd(ctx, fd, i.PID)
}

// waitEnd waits until the whole thread group behind a pidfd has ended.
func waitEnd(ctx context.Context, fd, pid int) error {
	for {
		ready, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 50)
		switch {
		case err != nil && !errors.Is(err, unix.EINTR):
			return fmt.Errorf("wait for the end of process %d: %w", pid, err)
		case ready > 0:
			return nil
		case ctx.Err() != nil:
			return fmt.Errorf("process %d was killed but has not ended: %w", pid, ctx.Err())
		}
	}
}

// Save writes the identity to a file, in one step, so that a reader sees all of it or none.
func (i Identity) Save(path string) error {
	data, err := json.Marshal(i)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	temporary := path + ".new"
	if err := os.WriteFile(temporary, data, 0o644); err != nil {
		return err
	}
	return os.Rename(temporary, path)
}

// Load reads what Save wrote. A missing file gives the zero Identity, which runs nowhere.
func Load(path string) (Identity, error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return Identity{}, nil
	}
	if err != nil {
		return Identity{}, err
	}
	var i Identity
	if err := json.Unmarshal(data, &i); err != nil {
		return Identity{}, fmt.Errorf("read %s: %w", path, err)
	}
	return i, nil
}

// Age returns for how long the process has been running, zero if it does not.
func (i Identity) Age() time.Duration {
	if !i.Running() {
		return 0
	}
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &now); err != nil {
		return 0
	}
	const ticksPerSecond = 100 // USER_HZ, the same on every Linux architecture Go knows
	started := time.Duration(i.StartTicks) * (time.Second / ticksPerSecond)
	return time.Duration(now.Nano()) - started
}

type stat struct {
	state      byte
	threads    uint64
	startTicks uint64
}

func readStat(pid int) (stat, error) {
	data, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return stat{}, err
	}
	return parseStat(data)
}

// parseStat reads /proc/PID/stat. The program's name, second and in parentheses, may itself hold blanks and
// parentheses, so counting starts after the last one.
func parseStat(data []byte) (stat, error) {
	const state, threads, startTime = 0, 17, 19 // fields 3, 20 and 22 of proc(5), counted from the state on
	end := bytes.LastIndexByte(data, ')')
	fields := bytes.Fields(data[end+1:])
	if end < 0 || len(fields) <= startTime {
		return stat{}, fmt.Errorf("unexpected process status %q", data)
	}
	ticks, err := strconv.ParseUint(string(fields[startTime]), 10, 64)
	if err != nil {
		return stat{}, fmt.Errorf("unexpected start time in process status %q", data)
	}
	number, err := strconv.ParseUint(string(fields[threads]), 10, 64)
	if err != nil {
		return stat{}, fmt.Errorf("unexpected number of threads in process status %q", data)
	}
	return stat{state: fields[state][0], threads: number, startTicks: ticks}, nil
}

func bootID() (string, error) {
	data, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return strings.TrimSpace(string(data)), err
}
