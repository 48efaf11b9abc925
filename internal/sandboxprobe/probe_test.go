package sandboxprobe

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/image-csi/image-csi-operator/internal/sandbox"
)

const stageVariable = "--sandboxprobe-stage="

func stages() Stages {
	return Stages{Nothing: []string{stageVariable + "nothing"}, Build: []string{stageVariable + "build"}, Look: []string{stageVariable + "look"}}
}

// TestMain is the program, too: the probe starts itself.
func TestMain(m *testing.M) {
	if len(os.Args) != 2 || !strings.HasPrefix(os.Args[1], stageVariable) {
		os.Exit(m.Run())
	}
	runtime.LockOSThread()
	var err error
	switch strings.TrimPrefix(os.Args[1], stageVariable) {
	case "probe":
		fmt.Print(Run(context.Background(), stages()))
	case "build":
		err = Report(Build(context.Background(), stages()))
	case "look":
		err = Report(Look())
	}
	if err != nil {
		os.Exit(1)
	}
}

// probe runs the program as user 1000, without capabilities, in namespaces as a pod's.
func probe(t *testing.T, attributes *syscall.SysProcAttr) string {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("starting a process as another user takes root")
	}
	// The test's own program is where user 1000 may not look.
	dir := t.TempDir()
	program := filepath.Join(dir, "probe")
	in, err := os.Open(self)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := os.OpenFile(program, os.O_CREATE|os.O_WRONLY, 0o755)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(out, in); err != nil {
		t.Fatal(err)
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
	for at := dir; at != os.TempDir() && at != "/"; at = filepath.Dir(at) {
		if err := os.Chmod(at, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	run := exec.CommandContext(t.Context(), program, stageVariable+"probe")
	attributes.Credential = &syscall.Credential{Uid: 1000, Gid: 1000}
	run.SysProcAttr = attributes
	said, err := run.Output()
	if err != nil {
		t.Fatalf("%v: %s", err, said)
	}
	return string(said)
}

func TestASandboxIsMadeOnThisKernel(t *testing.T) {
	if limit, err := os.ReadFile("/proc/sys/user/max_user_namespaces"); err != nil || strings.TrimSpace(string(limit)) == "0" {
		t.Skipf("this machine makes no user namespaces: %s, %v", limit, err)
	}
	if nodeAt("/proc/sys").appArmor {
		t.Skip("this machine's AppArmor restricts user namespaces")
	}
	if got := probe(t, &syscall.SysProcAttr{}); got != string(sandbox.Proven) {
		t.Errorf("the probe reports %q", got)
	}
}

// TestALimitOfNamespacesIsToldAsSuch sets user.max_user_namespaces in a user namespace of the test's, where it is no other's.
func TestALimitOfNamespacesIsToldAsSuch(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("making a user namespace with its own limit takes root")
	}
	program := "/proc/self/exe"
	run := exec.CommandContext(t.Context(), "sh", "-c", "echo 0 >/proc/sys/user/max_user_namespaces && exec \"$0\" \"$1\"", program, stageVariable+"probe")
	run.Args[3] = mustReadlink(t, program)
	run.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWUSER, UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: 0, Size: 2000}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: 0, Size: 2000}}}
	said, err := run.CombinedOutput()
	if err != nil || sandbox.VerdictOf(string(said)) != sandbox.UserNamespaceLimit {
		t.Errorf("the probe reports %q, %v", said, err)
	}
}

func mustReadlink(t *testing.T, path string) string {
	t.Helper()
	to, err := os.Readlink(path)
	if err != nil {
		t.Fatal(err)
	}
	return to
}

func TestAFailureIsToldByItsCause(t *testing.T) {
	restricted := node{appArmor: true}
	for name, test := range map[string]struct {
		err  error
		on   node
		want sandbox.Verdict
	}{
		"nothing failed":                            {nil, restricted, sandbox.Proven},
		"no more user namespaces":                   {&failure{makeUserNamespace, syscall.ENOSPC}, node{}, sandbox.UserNamespaceLimit},
		"no more of the other namespaces":           {&failure{makeNamespaces, syscall.ENOSPC}, node{}, sandbox.UserNamespaceLimit},
		"a limit, under AppArmor":                   {&failure{makeUserNamespace, syscall.ENOSPC}, restricted, sandbox.UserNamespaceLimit},
		"no user namespace":                         {&failure{makeUserNamespace, syscall.EPERM}, node{}, sandbox.UserNamespacesForbidden},
		"no user namespace, under AppArmor":         {&failure{makeUserNamespace, syscall.EACCES}, restricted, sandbox.AppArmorRestriction},
		"a namespace without rights":                {&failure{makeNamespaces, syscall.EACCES}, restricted, sandbox.AppArmorRestriction},
		"a mount without rights":                    {&failure{"mount a file system in memory", syscall.EACCES}, restricted, sandbox.AppArmorRestriction},
		"a mount that the profile lacks":            {&failure{"mount a file system in memory", syscall.EPERM}, node{}, sandbox.StepFailed},
		"a masked /proc":                            {&failure{mountProc, syscall.EPERM}, node{}, sandbox.ProcMasked},
		"another failure of /proc":                  {&failure{mountProc, syscall.ENOMEM}, node{}, sandbox.StepFailed},
		"a full disk":                               {&failure{"make /dev", syscall.ENOSPC}, node{}, sandbox.StepFailed},
		"a sandbox with holes":                      {&failure{isolate, errors.New("x")}, node{}, sandbox.NotIsolated},
		"a sandbox with holes, and errno":           {&failure{isolate, syscall.EPERM}, restricted, sandbox.NotIsolated},
		"what has no step":                          {fs.ErrNotExist, node{}, sandbox.StepFailed},
		"as a process of the probe reports it":      {parse("1\nmount /proc\nproc: operation not permitted"), node{}, sandbox.ProcMasked},
		"as one reports it that has no errno":       {parse("0\nlook out of the sandbox\n/proc shows 9 processes"), node{}, sandbox.NotIsolated},
		"as one reports it that was cut":            {parse("1\nmount"), node{}, sandbox.StepFailed},
		"as one reports it that writes no number":   {parse("x\nmount /proc\ny"), node{}, sandbox.StepFailed},
		"as one reports it of the namespaces' sort": {parse("28\nmake the namespaces of a sandbox and map its user\nx"), node{}, sandbox.UserNamespaceLimit},
	} {
		if got := diagnose(test.err, test.on); got != test.want {
			t.Errorf("%s: %s, want %s", name, got, test.want)
		}
		said := report(test.err, test.on)
		if sandbox.VerdictOf(said) != test.want {
			t.Errorf("%s: the report is %q", name, said)
		}
	}
	if said := report(&failure{isolate, errors.New(strings.Repeat("ä", 5000))}, node{}); len(said) > maxReport || strings.ContainsRune(said, '�') {
		t.Errorf("the report has %d bytes", len(said))
	}
}

// TestNothingIsBuiltOutsideOfNamespaces tries the rule alone: Build would take the root directory from whatever runs the tests.
func TestNothingIsBuiltOutsideOfNamespaces(t *testing.T) {
	for name, test := range map[string]struct {
		pid   int
		users string
		is    bool
	}{
		"the probe's own":                {1, "      1000       1000          1\n", true},
		"a process of the node":          {4711, "         0          0 4294967295\n", false},
		"the node's first":               {1, "         0          0 4294967295\n", false},
		"a pod's first":                  {1, "         0     165536      65536\n", false},
		"one that is not first":          {2, "      1000       1000          1\n", false},
		"one with more users":            {1, "      1000       1000          1\n         0     165536      65536\n", false},
		"one whose users are not mapped": {1, "", false},
	} {
		if err := isApart(test.pid, test.users); (err == nil) != test.is {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestWhatTheNodeSaysIsRead(t *testing.T) {
	dir := t.TempDir()
	if nodeAt(dir).appArmor {
		t.Error("nothing restricts")
	}
	if err := os.MkdirAll(filepath.Join(dir, "kernel"), 0o755); err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]bool{"1\n": true, "0\n": false, "": false} {
		if err := os.WriteFile(filepath.Join(dir, "kernel/apparmor_restrict_unprivileged_userns"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := nodeAt(dir).appArmor; got != want {
			t.Errorf("%q is read as %v", text, got)
		}
	}
}

func TestAContainerThatIsNotConfinedProvesNothing(t *testing.T) {
	const right = "Name:\tx\nCapEff:\t0000000000000000\nCapBnd:\t0000000000000000\nNoNewPrivs:\t1\nSeccomp:\t2\n"
	for name, test := range map[string]struct {
		status string
		uid    int
		fails  bool
	}{
		"as it asked":        {right, 1000, false},
		"as root":            {right, 0, true},
		"without seccomp":    {strings.Replace(right, "Seccomp:\t2", "Seccomp:\t0", 1), 1000, true},
		"with a capability":  {strings.Replace(right, "CapEff:\t0000000000000000", "CapEff:\t0000000000200000", 1), 1000, true},
		"with one to get":    {strings.Replace(right, "CapBnd:\t0000000000000000", "CapBnd:\t0000000000200000", 1), 1000, true},
		"that may have more": {strings.Replace(right, "NoNewPrivs:\t1", "NoNewPrivs:\t0", 1), 1000, true},
		"that says nothing":  {"", 1000, true},
	} {
		if err := confined(test.status, test.uid); (err != nil) != test.fails {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := Confined(); err == nil {
		t.Error("the tests are not confined, and count as such")
	}
}
