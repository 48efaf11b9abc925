package sigkill

import (
	"bufio"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// program is the name under which this program is the tracer. Only the thread that traces may wait for what it traces,
// and it must not take the exit of another child for one of those, so the tracer is a process of its own.
const program = "imagecsi-sigkill"

// patience is how long a process is followed at most.
const patience = 3 * time.Minute

// readyLine is what a tracer says when it follows every thread; each line after it is a step.
const readyLine = "ready"

// Init has to be called first in TestMain. In the process that is to trace it does so and does not return.
func Init() {
	if os.Args[0] != program {
		return
	}
	if err := runTracer(os.Args[1:]); err != nil {
		_, _ = os.Stderr.WriteString(program + ": " + err.Error() + "\n")
		os.Exit(1)
	}
	os.Exit(0)
}

// Killer follows one process.
type Killer struct {
	pid, n  int
	command *exec.Cmd
	cancel  context.CancelFunc
	output  *bufio.Reader
	errors  strings.Builder
}

// At follows a process from now on, and kills it when it is about to take its n-th step: a system call with a side
// effect, or the moment after it has sent something to another process. 0 kills it never.
func At(t testing.TB, pid, n int) *Killer {
	t.Helper()
	k := &Killer{pid: pid, n: n}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	k.cancel = cancel
	k.command = exec.CommandContext(ctx, "/proc/self/exe")
	k.command.Args = []string{program, strconv.Itoa(pid), strconv.Itoa(n)}
	k.command.Stderr = &k.errors
	output, err := k.command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := k.command.Start(); err != nil {
		t.Fatal(err)
	}
	k.output = bufio.NewReader(output)
	if line, err := k.output.ReadString('\n'); line != readyLine+"\n" {
		k.cancel()
		_ = k.command.Wait()
		t.Fatalf("the tracer of process %d said %q (%v): %s", pid, line, err, k.errors.String())
	}
	return k
}

// End lets go of the process, unless it was killed, and returns the steps it took. The last one is the one it was
// killed at.
func (k *Killer) End(t testing.TB) (steps []string, killed bool) {
	t.Helper()
	// The kernel lets go of what a tracer that ends has traced. Where the tracer has ended already, this does nothing.
	k.cancel()
	said, err := io.ReadAll(k.output)
	if err != nil {
		t.Fatal(err)
	}
	_ = k.command.Wait() // killed, perhaps
	if k.errors.Len() > 0 {
		t.Fatal(k.errors.String())
	}
	if len(said) == 0 {
		return nil, false
	}
	steps = strings.Split(strings.TrimSuffix(string(said), "\n"), "\n")
	if len(steps) != k.n {
		return steps, false
	}
	// The tracer may have been ended between the step and the kill.
	if err := syscall.Kill(k.pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
		t.Fatal(err)
	}
	return steps, true
}
