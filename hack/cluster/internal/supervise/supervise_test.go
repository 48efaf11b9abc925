package supervise

import (
	"encoding/json"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/image-csi/image-csi-operator/hack/cluster/internal/process"
)

// daemonsVariable makes the test program a supervisor: Run reaps all children of its process, so it needs its own.
const daemonsVariable = "SUPERVISE_DAEMONS"

func TestMain(m *testing.M) {
	if value := os.Getenv(daemonsVariable); value != "" {
		var daemons []Daemon
		if err := json.Unmarshal([]byte(value), &daemons); err != nil {
			panic(err)
		}
		Run(daemons)
	}
	os.Exit(m.Run())
}

func TestProgramThatEndsIsStartedAgain(t *testing.T) {
	log := filepath.Join(t.TempDir(), "log")
	startSupervisor(t, Daemon{Name: "p", Command: []string{"/bin/sh", "-c", "echo begun $VALUE; exit 3"}, Env: []string{"VALUE=here"}, Log: log})
	eventually(t, func() bool {
		return strings.Count(process.Tail(log, 100), "begun here") >= 2 && Endings(log) >= 1
	})
	if content := process.Tail(log, 100); !strings.Contains(content, "p ended (exit status 3)") {
		t.Errorf("the log is\n%s", content)
	}
}

func TestProgramWaitsForWhatItNeedsAndEndsWithItsSupervisor(t *testing.T) {
	dir := t.TempDir()
	socket, record := filepath.Join(dir, "socket"), filepath.Join(dir, "record")
	supervisor := startSupervisor(t, Daemon{
		Name: "p", Command: []string{"/bin/sleep", "60"}, Log: filepath.Join(dir, "log"), Record: record, After: []string{"unix:" + socket},
	})
	time.Sleep(200 * time.Millisecond)
	if early, _ := process.Load(record); early.PID != 0 {
		t.Fatal("it was started before the socket was there")
	}
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	running := func() bool {
		identity, err := process.Load(record)
		return err == nil && identity.Running()
	}
	eventually(t, running)
	if err := supervisor.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() bool { return !running() })
}

func startSupervisor(t *testing.T, daemons ...Daemon) *exec.Cmd {
	t.Helper()
	value, err := json.Marshal(daemons)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), daemonsVariable+"="+string(value))
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return cmd
}

func eventually(t *testing.T, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !condition(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it did not happen in time")
		}
	}
}
