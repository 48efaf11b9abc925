package sandboxprobe

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/image-csi/image-csi-operator/internal/sandbox"
)

const (
	// self is the program itself, whatever the root directory is.
	self = "/proc/self/exe"
	// reportFile is the open file by which a process of the probe reports to the one that started it.
	reportFile = 3
	// patience is for how long a probe may take. It takes some milliseconds.
	patience = 30 * time.Second
	// maxReport bounds a report; the kubelet keeps four kilobytes of a termination message.
	maxReport = 512
)

// Stages are the arguments with which the program starts itself.
type Stages struct {
	// Nothing ends at once, Build runs Build, and Look runs Look.
	Nothing, Build, Look []string
}

// Run makes a sandbox, and returns a report: a verdict and, unless the sandbox was made and held, what failed.
func Run(ctx context.Context, stages Stages) string {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return report(try(ctx, stages), nodeAt("/proc/sys"))
}

func report(err error, on node) string {
	verdict := diagnose(err, on)
	if err == nil {
		return string(verdict)
	}
	text := string(verdict) + ": " + err.Error()
	return strings.ToValidUTF8(text[:min(len(text), maxReport)], "")
}

func try(ctx context.Context, stages Stages) error {
	// By itself first, because the error of the second does not tell what of it failed.
	if err := start(ctx, makeUserNamespace, stages.Nothing, &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWUSER}); err != nil {
		return err
	}
	uid, gid := os.Getuid(), os.Getgid()
	return start(ctx, makeNamespaces, stages.Build, &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWUSER | unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWNET | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS | unix.CLONE_NEWCGROUP,
		// The same user inside as outside, as bubblewrap does. A program that is not root keeps no capabilities unless they are ambient.
		UidMappings: []syscall.SysProcIDMap{{ContainerID: uid, HostID: uid, Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: gid, HostID: gid, Size: 1}},
		AmbientCaps: []uintptr{unix.CAP_SYS_ADMIN, unix.CAP_NET_ADMIN},
	})
}

// start starts the program itself and waits for its report: nothing if it succeeded.
func start(ctx context.Context, at step, args []string, attributes *syscall.SysProcAttr) error {
	read, write, err := os.Pipe()
	if err != nil {
		return &failure{at, err}
	}
	defer func() { _ = read.Close() }()
	child, err := os.StartProcess(self, append([]string{self}, args...), &os.ProcAttr{
		Files: []*os.File{nil, os.Stdout, os.Stderr, write}, Sys: attributes, Env: []string{},
	})
	_ = write.Close()
	if err != nil {
		return &failure{at, err}
	}
	stop := context.AfterFunc(ctx, func() { _ = child.Kill() })
	defer stop()
	told, err := io.ReadAll(io.LimitReader(read, maxReport))
	state, waited := child.Wait()
	switch {
	case ctx.Err() != nil:
		return &failure{at, ctx.Err()}
	case err != nil || waited != nil:
		return &failure{at, errors.Join(err, waited)}
	case len(told) > 0:
		return parse(string(told))
	case !state.Success():
		return &failure{at, fmt.Errorf("the process ended with %s", state)}
	}
	return nil
}

// Report ends a process that the probe started: it tells err to the one that started it.
func Report(err error) error {
	if err == nil {
		return nil
	}
	var number syscall.Errno
	_ = errors.As(err, &number)
	at := &failure{step: "prepare the sandbox", err: err}
	_ = errors.As(err, &at)
	out := os.NewFile(reportFile, "report")
	if out == nil {
		return errors.New("the probe's programs start each other only")
	}
	_, err = fmt.Fprintf(out, "%d\n%s\n%v", number, at.step, at.err)
	return err
}

// parse is the other side of Report.
func parse(told string) error {
	var number int
	parts := strings.SplitN(told, "\n", 3)
	if len(parts) < 3 {
		return &failure{"prepare the sandbox", errors.New("it reports nothing")}
	}
	if _, err := fmt.Sscanf(parts[0], "%d", &number); err == nil && number != 0 {
		cause := syscall.Errno(number)
		return &failure{step(parts[1]), fmt.Errorf("%s%w", strings.TrimSuffix(parts[2], cause.Error()), cause)}
	}
	return &failure{step(parts[1]), errors.New(parts[2])}
}

// Confined returns an error unless this process has what a container that makes sandboxes has: another user than root, no capability,
// no way to become more, and a seccomp profile.
func Confined() error {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return err
	}
	return confined(string(status), os.Getuid())
}

func confined(status string, uid int) error {
	if uid == 0 {
		return errors.New("the container runs as root")
	}
	for field, want := range map[string]string{"CapEff": "0000000000000000", "CapBnd": "0000000000000000", "NoNewPrivs": "1", "Seccomp": "2"} {
		if got := fieldOf(status, field); got != want {
			return fmt.Errorf("%s of the container's process is %q, not %s", field, got, want)
		}
	}
	return nil
}

// fieldOf returns a field of a /proc/<pid>/status (proc_pid_status(5)).
func fieldOf(status, name string) string {
	for line := range strings.Lines(status) {
		if value, found := strings.CutPrefix(line, name+":"); found {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// NotConfined is the report of a container that is not confined as it asked.
func NotConfined(err error) string { return string(sandbox.NotConfined) + ": " + err.Error() }
