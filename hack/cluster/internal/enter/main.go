// Command enter runs a command in a node of a cluster: in the node's namespaces and its control group. It is a program of its
// own because suites run thousands of commands in nodes: a test's program, which links Kubernetes, takes twenty times as long to
// start.
package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/image-csi/image-csi-operator/hack/cluster/internal/cgroup"
)

// stubbornFor is how long a command that was told to end may go on; Node.Command says so, too.
const stubbornFor = 2 * time.Second

// nodeNamespaces are what a command in a node enters, the mount namespace last: the files of the others are found
// through the machine's /proc.
var nodeNamespaces = []string{"cgroup", "ipc", "uts", "net", "pid", "mnt"}

func main() {
	if err := run(); err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", filepath.Base(os.Args[0]), err)
		os.Exit(1)
	}
}

// run takes from the command line the node's init as this machine counts processes, the node's control group, and the command.
func run() error {
	if len(os.Args) < 4 {
		return errors.New("want a process, a control group and a command")
	}
	pid, err := strconv.Atoi(os.Args[1])
	if err != nil {
		return err
	}
	groups, err := cgroup.Detect()
	if err != nil {
		return err
	}
	if err := groups.Join(groups.Inner(os.Args[2])); err != nil {
		return err
	}
	runtime.LockOSThread()
	if err := enterNamespaces(pid); err != nil {
		return err
	}
	return runAndExit(exec.Command(os.Args[3], os.Args[4:]...))
}

// enterNamespaces moves the calling thread into the node's namespaces; of the pid namespace, its children.
func enterNamespaces(pid int) error {
	var files []*os.File
	for _, name := range nodeNamespaces {
		f, err := os.Open(filepath.Join("/proc", strconv.Itoa(pid), "ns", name))
		if err != nil {
			return fmt.Errorf("enter the node: %w", err)
		}
		defer f.Close()
		files = append(files, f)
	}
	// The kernel refuses a new mount namespace to a thread that shares its root directory with others.
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return fmt.Errorf("enter the node: %w", err)
	}
	for i, f := range files {
		if err := unix.Setns(int(f.Fd()), 0); err != nil {
			return fmt.Errorf("enter the node's %s namespace: %w", nodeNamespaces[i], err)
		}
	}
	return unix.Chdir("/")
}

// runAndExit runs the command and ends as it does. It passes the signals to end on to it: the kernel's own way to end a
// child with its parent is not to be had, because Go takes a child in another pid namespace for an orphan.
func runAndExit(cmd *exec.Cmd) error {
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	if err := cmd.Start(); err != nil {
		return err
	}
	go func() {
		for s := range signals {
			_ = cmd.Process.Signal(s)
			time.AfterFunc(stubbornFor, func() { _ = cmd.Process.Kill() })
		}
	}()
	err := cmd.Wait()
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		return err
	}
	if status := exit.Sys().(syscall.WaitStatus); status.Signaled() {
		os.Exit(128 + int(status.Signal())) // as a shell says it
	}
	os.Exit(exit.ExitCode())
	return nil
}
