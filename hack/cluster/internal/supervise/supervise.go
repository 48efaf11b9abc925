package supervise

import (
	"fmt"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/image-csi/image-csi-operator/hack/cluster/internal/process"
)

// Daemon is one program to keep running.
type Daemon struct {
	Name    string   `json:"name"`
	Command []string `json:"command"` // the first is the path of the executable
	Env     []string `json:"env,omitempty"`
	Log     string   `json:"log"`              // output goes here; what an earlier run wrote is kept beside it
	Record  string   `json:"record,omitempty"` // the running process is recorded here
	After   []string `json:"after,omitempty"`  // what has to answer first: "unix:/path" or "https://host/path"
}

// restartDelay lies between the end of a program and its next start.
const restartDelay = time.Second

// endMark starts the line that a program's log gets whenever the program ends.
const endMark = "supervise: "

// Run keeps the programs running and never returns. It reaps every child of this process, so nothing else in it may
// start one.
func Run(daemons []Daemon) {
	s := &supervisor{waiting: map[int]chan syscall.WaitStatus{}}
	for _, d := range daemons {
		go s.keep(d)
	}
	s.reap()
}

// Endings returns how often a program has ended since its supervisor started it first, from its log.
func Endings(log string) int {
	return strings.Count("\n"+process.Tail(log, 1000), "\n"+endMark)
}

type supervisor struct {
	mu      sync.Mutex // held while starting, so that reap cannot meet a child before its waiter is known
	waiting map[int]chan syscall.WaitStatus
}

func (s *supervisor) keep(d Daemon) {
	_ = os.Rename(d.Log, d.Log+".1")
	for _, address := range d.After {
		awaitAnswer(address)
	}
	for {
		reason := s.runOnce(d)
		note(d.Log, fmt.Sprintf("%s%s ended (%s); it starts again in %s", endMark, d.Name, reason, restartDelay))
		time.Sleep(restartDelay)
	}
}

// runOnce starts the program, waits for its end and says how it ended.
func (s *supervisor) runOnce(d Daemon) string {
	ended, err := s.start(d)
	if err != nil {
		return err.Error()
	}
	status := <-ended
	if status.Signaled() {
		return "signal " + status.Signal().String()
	}
	return fmt.Sprintf("exit status %d", status.ExitStatus())
}

func (s *supervisor) start(d Daemon) (<-chan syscall.WaitStatus, error) {
	log, err := os.OpenFile(d.Log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	null, err := os.Open(os.DevNull)
	if err != nil {
		return nil, err
	}
	defer null.Close()

	s.mu.Lock()
	defer s.mu.Unlock()
	pid, err := syscall.ForkExec(d.Command[0], d.Command, &syscall.ProcAttr{
		Env:   append(os.Environ(), d.Env...),
		Files: []uintptr{null.Fd(), log.Fd(), log.Fd()},
		// A program never outlives its supervisor: the next one could not know of it.
		Sys: &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL},
	})
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", d.Command[0], err)
	}
	ended := make(chan syscall.WaitStatus, 1)
	s.waiting[pid] = ended
	if d.Record != "" {
		if err := record(pid, d.Record); err != nil {
			note(d.Log, "supervise could not record the process: "+err.Error())
		}
	}
	return ended, nil
}

func record(pid int, path string) error {
	identity, err := process.Of(pid)
	if err != nil {
		return err
	}
	return identity.Save(path)
}

// reap collects ended children, the supervised ones and orphans alike.
func (s *supervisor) reap() {
	children := make(chan os.Signal, 1) // one is enough: every wake-up collects all there are
	signal.Notify(children, syscall.SIGCHLD)
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, syscall.WNOHANG, nil)
		if err == syscall.EINTR {
			continue
		}
		if err != nil || pid == 0 {
			<-children
			continue
		}
		s.mu.Lock()
		ended := s.waiting[pid]
		delete(s.waiting, pid)
		s.mu.Unlock()
		if ended != nil {
			ended <- status
		}
	}
}

func note(log, line string) {
	f, err := os.OpenFile(log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return
	}
	defer f.Close()
	fmt.Fprintln(f, line)
}
