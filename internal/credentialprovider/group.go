package credentialprovider

import (
	"bytes"
	"crypto/rand"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// runVariable is in the environment of a program and of all that it starts, with a value of that run.
const runVariable = "IMAGECSI_PROVIDER_RUN"

// runGroup runs a program. When the program ends or its time is over, everything that it started is killed: its process
// group, and what left that group but still has the run's variable in its environment.
func runGroup(command *exec.Cmd) error {
	mark := runVariable + "=" + rand.Text()
	command.Env = append(command.Env, mark)
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	command.Cancel = func() error { return syscall.Kill(-command.Process.Pid, syscall.SIGKILL) }
	command.WaitDelay = exitDelay
	if err := command.Start(); err != nil {
		return err
	}
	group := command.Process.Pid
	// Until it is waited for, no other process can have the ended program's number, which is the group's (waitid(2)).
	for errors.Is(unix.Waitid(unix.P_PID, group, nil, unix.WEXITED|unix.WNOWAIT, nil), syscall.EINTR) {
	}
	_ = syscall.Kill(-group, syscall.SIGKILL)
	left := endMarked(mark)
	err := command.Wait()
	reap(-group)
	for _, pid := range left {
		reap(pid)
	}
	return err
}

// endMarked kills processes with a mark in their environment until there are none, or none can be killed any more. It returns
// them.
func endMarked(mark string) []int {
	var ended []int
	for range 10 {
		found := marked(mark)
		if len(found) == 0 {
			break
		}
		for _, pid := range found {
			kill(pid, mark)
		}
		ended = append(ended, found...)
		time.Sleep(time.Millisecond)
	}
	return ended
}

// marked lists the processes with a mark in the environment that they were started with (proc_pid_environ(5)).
func marked(mark string) []int {
	var found []int
	paths, _ := filepath.Glob("/proc/[0-9]*")
	for _, path := range paths {
		if pid, err := strconv.Atoi(filepath.Base(path)); err == nil && hasMark(pid, mark) {
			found = append(found, pid)
		}
	}
	return found
}

func hasMark(pid int, mark string) bool {
	environment, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "environ"))
	return err == nil && bytes.Contains(environment, []byte(mark))
}

// kill kills a process that still has the mark, and not another one that has its number by now.
func kill(pid int, mark string) {
	process, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return
	}
	defer unix.Close(process)
	if hasMark(pid, mark) {
		_ = unix.PidfdSendSignal(process, unix.SIGKILL, nil, 0)
	}
}

// reap waits for a process that was killed, or, for a negative number, for those of a group. In a container they are this
// process's own children when their parent has ended, and would stay as zombies.
func reap(pid int) {
	for range 50 {
		switch ended, err := unix.Wait4(pid, nil, unix.WNOHANG, nil); {
		case errors.Is(err, syscall.EINTR):
		case err != nil:
			return // there are none, or they are not this process's children
		case ended == 0:
			time.Sleep(time.Millisecond)
		}
	}
}
