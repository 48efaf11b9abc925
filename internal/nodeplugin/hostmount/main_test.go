package hostmount

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// Environment of the test processes that the test binary starts of itself.
const (
	roleEnv      = "IMAGECSI_TEST_ROLE"      // which part the process plays
	namespaceEnv = "IMAGECSI_TEST_NAMESPACE" // Config.NamespaceDir of the engines under test
)

const (
	roleIsolated = "isolated" // has a mount namespace of its own
	roleConfine  = "confine"  // gives up capabilities, then executes itself as rolePlugin
	rolePlugin   = "plugin"   // runs as the node plugin's container does
	roleStranger = "stranger" // has a mount namespace that is neither the node's nor the container's
)

// TestMain runs the tests in a mount namespace of their own, so that no mount of theirs is met outside it.
func TestMain(m *testing.M) {
	switch os.Getenv(roleEnv) {
	case roleConfine:
		fmt.Fprintln(os.Stderr, confine())
		os.Exit(1)
	case rolePlugin:
		if os.Getenv(scenarioEnv) != "" {
			os.Exit(runScenario())
		}
	case roleStranger:
		fmt.Fprintln(os.Stderr, stranger())
		os.Exit(1)
	case "":
		if mayMount() == nil && !fuzzing() {
			os.Exit(runSelf(roleIsolated, os.Args[1:]))
		}
	}
	os.Exit(m.Run())
}

// runSelf runs the test binary in a private mount namespace (the Go runtime makes it private for Unshareflags).
func runSelf(role string, args []string) int {
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.Env = append(os.Environ(), roleEnv+"="+role)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: unix.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	err := cmd.Run()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit):
		return exit.ExitCode()
	default:
		fmt.Fprintln(os.Stderr, "starting the tests in a mount namespace:", err)
		return 1
	}
}

// fuzzing reports that the go command speaks to this very process.
func fuzzing() bool {
	for _, arg := range os.Args[1:] {
		if strings.HasPrefix(arg, "-test.fuzz") && !strings.HasPrefix(arg, "-test.fuzzcachedir") {
			return true
		}
	}
	return false
}

func mayMount() error {
	if os.Geteuid() != 0 {
		return errors.New("mounting needs root")
	}
	if !hasCapability(unix.CAP_SYS_ADMIN) {
		return errors.New("mounting needs CAP_SYS_ADMIN")
	}
	return nil
}

// needMounts skips a test that cannot mount here; in CI that is a failure.
func needMounts(t testing.TB) {
	t.Helper()
	err := mayMount()
	if err == nil && os.Getenv(roleEnv) == "" {
		err = errors.New("mounting is not tested while fuzzing")
	}
	if err == nil {
		return
	}
	if os.Getenv("CI") != "" && !fuzzing() {
		t.Fatal(err)
	}
	t.Skip(err)
}
