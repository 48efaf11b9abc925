package sigkill

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"

	"golang.org/x/sys/unix"
)

const (
	// traceOptions: mark stops at system calls, and follow new threads.
	traceOptions = unix.PTRACE_O_TRACESYSGOOD | unix.PTRACE_O_TRACECLONE

	// syscallStop is the signal of a stop at a system call, so marked.
	syscallStop = unix.SIGTRAP | 0x80
)

// tracer follows all threads of one process.
type tracer struct {
	pid, n int
	taken  int
	inside map[int]string // the step that a thread is in, if what follows it counts as one, too
	fresh  map[int]bool   // threads that have not stopped for the first time
	ready  bool           // there are none of these any more: steps count
}

func runTracer(args []string) error {
	runtime.LockOSThread() // ptrace(2) is a matter between two threads
	if len(args) != 2 {
		return errors.New("want a process and a number of steps")
	}
	pid, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	n, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	t := &tracer{pid: pid, n: n, inside: map[int]string{}, fresh: map[int]bool{}}
	if err := t.seize(); err != nil {
		return err
	}
	return t.follow()
}

// seize takes hold of every thread and has each stop once, to follow its system calls from there.
func (t *tracer) seize() error {
	for found := true; found; {
		found = false
		tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*", t.pid))
		if err != nil {
			return err
		}
		for _, task := range tasks {
			tid, err := strconv.Atoi(filepath.Base(task))
			if err != nil {
				return err
			}
			if t.fresh[tid] {
				continue
			}
			err = ptrace(unix.PTRACE_SEIZE, tid, 0, traceOptions)
			if errors.Is(err, unix.ESRCH) || errors.Is(err, unix.EPERM) && t.traced(tid) {
				continue // it has ended, or was made by a thread that is followed
			}
			if err == nil {
				err = unix.PtraceInterrupt(tid)
			}
			if err != nil {
				return fmt.Errorf("take hold of thread %d: %w", tid, err)
			}
			found, t.fresh[tid] = true, true
		}
	}
	if len(t.fresh) == 0 {
		return fmt.Errorf("there is no process %d", t.pid)
	}
	return nil
}

func (t *tracer) traced(tid int) bool {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", tid))
	return err == nil && containsLine(string(status), fmt.Sprintf("TracerPid:\t%d", os.Getpid()))
}

// follow resumes every thread that stops, until the process has ended.
func (t *tracer) follow() error {
	for {
		var status unix.WaitStatus
		tid, err := unix.Wait4(-1, &status, unix.WALL, nil)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.ECHILD):
			return nil
		case err != nil:
			return err
		}
		delete(t.fresh, tid)
		if status.Stopped() {
			if err := t.resume(tid, status); err != nil {
				return err
			}
		}
		if !t.ready && len(t.fresh) == 0 {
			t.ready = true
			fmt.Println(readyLine)
		}
	}
}

// resume lets a thread that has stopped go on to its next system call.
func (t *tracer) resume(tid int, status unix.WaitStatus) error {
	signal := 0
	switch stop := status.StopSignal(); {
	case stop == syscallStop:
		if err := t.systemCall(tid); err != nil {
			return err
		}
	case status>>16 == 0:
		signal = int(stop) // one that another process has sent
	}
	err := unix.PtraceSyscall(tid, signal)
	if err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("resume thread %d: %w", tid, err)
	}
	return nil
}

// systemCall looks at a thread that enters or leaves a system call.
func (t *tracer) systemCall(tid int) error {
	var info callInfo
	err := ptrace(unix.PTRACE_GET_SYSCALL_INFO, tid, info.size(), info.address())
	if errors.Is(err, unix.ESRCH) {
		return nil // killed meanwhile
	}
	if err != nil {
		return fmt.Errorf("look at a system call: %w", err)
	}
	if info.op == unix.PTRACE_SYSCALL_INFO_EXIT {
		if step, ok := t.inside[tid]; ok {
			delete(t.inside, tid)
			return t.take("after " + step)
		}
		return nil
	}
	call := call{pid: t.pid, number: info.number, args: info.args}
	step, ok := call.step()
	if !ok {
		return nil
	}
	if call.sends() {
		t.inside[tid] = step
	}
	return t.take(step)
}

// take counts a step, and kills the process at the one it was told.
func (t *tracer) take(step string) error {
	if !t.ready {
		return nil
	}
	t.taken++
	if t.n != 0 && t.taken > t.n {
		return nil // of a thread that had stopped already
	}
	fmt.Println(step)
	if t.taken != t.n {
		return nil
	}
	return unix.Kill(t.pid, unix.SIGKILL)
}

func ptrace(request, tid int, address, data uintptr) error {
	_, _, errno := unix.Syscall6(unix.SYS_PTRACE, uintptr(request), uintptr(tid), address, data, 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}
