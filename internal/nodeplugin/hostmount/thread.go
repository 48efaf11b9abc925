package hostmount

import (
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"sync"

	"golang.org/x/sys/unix"
)

// request is one piece of work for a mount thread.
type request struct {
	run  func() error
	done chan error
}

// pool is the threads that do one kind of work.
type pool struct {
	requests chan request
	threads  sync.WaitGroup
}

// startThreads starts all threads and returns when each has entered the namespace. The namespace is opened once and
// closed again: the threads keep it.
func (e *Engine) startThreads() error {
	namespace := -1
	if e.config.NamespaceDir != "" {
		path := filepath.Join(e.config.NamespaceDir, "mnt")
		fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			return explain("opening the mount namespace "+path, err, unix.CAP_SYS_PTRACE)
		}
		defer closeFD(fd)
		namespace = fd
	}
	for p, threads := range map[*pool]int{&e.mounting: e.config.Threads, &e.looking: 1, &e.clearing: 1} {
		for range threads {
			started := make(chan error, 1)
			p.threads.Add(1)
			go e.thread(p, namespace, started)
			if err := <-started; err != nil {
				return err
			}
		}
	}
	return nil
}

// thread turns the calling goroutine into a thread of a pool until the engine is closed. It never unlocks, so that the
// operating system thread ends with the goroutine and no other code runs in its namespace.
func (e *Engine) thread(p *pool, namespace int, started chan<- error) {
	runtime.LockOSThread()
	if unix.Gettid() == unix.Getpid() {
		// The first thread cannot end before the process, and /proc/self shows its namespace: hold it until the
		// mount thread runs elsewhere.
		moved := make(chan error, 1)
		go e.thread(p, namespace, moved)
		started <- <-moved
		runtime.UnlockOSThread()
		return
	}
	defer p.threads.Done()
	err := enter(namespace)
	started <- err
	if err != nil {
		return
	}
	for {
		select {
		case r := <-p.requests:
			r.done <- runAtRoot(r.run)
		case <-e.closed:
			return
		}
	}
}

// enter gives the calling thread a working directory of its own and moves it into the namespace, if there is one.
func enter(namespace int) error {
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return explain("giving a mount thread its own working directory (unshare)", err, unix.CAP_SYS_ADMIN)
	}
	if namespace >= 0 {
		if err := unix.Setns(namespace, unix.CLONE_NEWNS); err != nil {
			return explain("entering the mount namespace (setns)", err, unix.CAP_SYS_ADMIN, unix.CAP_SYS_CHROOT)
		}
	}
	return backToRoot()
}

// runAtRoot runs f and restores the thread's working directory, which would otherwise keep a file system in use. A
// panic becomes an error: no volume may end the process that serves all others.
func runAtRoot(f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic on a mount thread: %v", p)
		}
		err = errors.Join(err, backToRoot())
	}()
	return f()
}

func backToRoot() error {
	if err := unix.Chdir("/"); err != nil {
		return fmt.Errorf("changing a mount thread's directory to /: %w", err)
	}
	return nil
}
