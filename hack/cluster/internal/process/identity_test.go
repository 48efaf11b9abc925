package process

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
	"time"
)

func TestParseStatReadsPastAProgramNameWithParentheses(t *testing.T) {
	line := "42 (a) (b c) S 1 42 42 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 98765 4096 1 18446744073709551615 0\n"
	got, err := parseStat([]byte(line))
	if err != nil || got != (stat{state: 'S', threads: 1, startTicks: 98765}) {
		t.Errorf("got %+v and %v, want state S, one thread and start 98765", got, err)
	}
	for _, broken := range []string{"", "42 (a", "42 (a) S 1 2 3", "42 (a) S 1 42 42 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 soon",
		"42 (a) S 1 42 42 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 few 0 98765"} {
		if _, err := parseStat([]byte(broken)); err == nil {
			t.Errorf("%q was accepted", broken)
		}
	}
}

func TestKillEndsTheRecordedProcess(t *testing.T) {
	sleep, identity := startSleep(t)
	path := filepath.Join(t.TempDir(), "run", "sleep.json")
	if err := identity.Save(path); err != nil {
		t.Fatal(err)
	}
	loaded, err := Load(path)
	if err != nil || loaded != identity {
		t.Fatalf("got %+v and %v, want %+v", loaded, err, identity)
	}
	if err := loaded.Kill(t.Context()); err != nil {
		t.Fatal(err)
	}
	if loaded.Running() {
		t.Error("a killed process runs")
	}
	_ = sleep.Wait()
	if err := loaded.Kill(t.Context()); err != nil {
		t.Errorf("kill a second time: %v", err)
	}
}

func TestKillSparesAProcessThatGotTheIDOfAnotherOne(t *testing.T) {
	_, identity := startSleep(t)
	for name, stale := range map[string]Identity{
		"started earlier":      {PID: identity.PID, StartTicks: identity.StartTicks - 1, BootID: identity.BootID},
		"before a reboot":      {PID: identity.PID, StartTicks: identity.StartTicks, BootID: "another"},
		"nothing was recorded": {},
	} {
		if stale.Running() {
			t.Errorf("%s: counts as running", name)
		}
		if err := stale.Kill(context.Background()); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if !identity.Running() {
			t.Fatalf("%s: the wrong process was killed", name)
		}
	}
}

func TestLoadTakesAMissingRecordForNoProcess(t *testing.T) {
	identity, err := Load(filepath.Join(t.TempDir(), "none"))
	if err != nil || identity.Running() || identity.Age() != 0 {
		t.Errorf("got %+v and %v", identity, err)
	}
}

func TestTailReturnsTheLastLines(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	if err := os.WriteFile(path, []byte("a\nb\nc\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if got := Tail(path, 2); got != "b\nc" {
		t.Errorf("got %q", got)
	}
	if got := Tail(path+".none", 2); got != "" {
		t.Errorf("got %q of no file", got)
	}
}

func startSleep(t *testing.T) (*exec.Cmd, Identity) {
	t.Helper()
	cmd := exec.Command("sleep", "60")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	identity, err := Of(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	if !identity.Running() {
		t.Fatal("a process that was just started does not run")
	}
	return cmd, identity
}

// leaderEnds has this program end its first thread, and no other.
const leaderEnds = "IMAGECSI_TEST_LEADER_ENDS"

func init() { //nolint:gochecknoinits // only here a goroutine can be tied to the first thread
	if os.Getenv(leaderEnds) != "" {
		runtime.LockOSThread()
	}
}

func TestMain(m *testing.M) {
	if os.Getenv(leaderEnds) != "" {
		go func() { time.Sleep(time.Minute); os.Exit(1) }()
		_, _, _ = syscall.Syscall(syscall.SYS_EXIT, 0, 0, 0)
	}
	os.Exit(m.Run())
}

func TestAProcessRunsUntilItsLastThreadEnds(t *testing.T) {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), leaderEnds+"=yes")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	identity, err := Of(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	for {
		first, err := readStat(cmd.Process.Pid)
		if err != nil {
			t.Fatal(err)
		}
		if !identity.Running() {
			t.Fatalf("a process with %d threads does not run", first.threads)
		}
		if first.state == 'Z' {
			break
		}
		time.Sleep(time.Millisecond)
	}
	if err := identity.Kill(t.Context()); err != nil {
		t.Fatal(err)
	}
	if identity.Running() {
		t.Error("a killed process runs")
	}
}
