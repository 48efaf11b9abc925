package crio

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"testing"

	"go.podman.io/storage/pkg/reexec"
)

// Environment of the processes that the test binary starts of itself.
const (
	roleEnv = "IMAGECSI_TEST_ROLE"
	dirEnv  = "IMAGECSI_TEST_DIR"

	roleIsolated = "isolated" // runs the tests in a mount namespace of its own
	roleRuntime  = "runtime"  // adds an image to the store in dirEnv, as CRI-O would
	roleFill     = "fill"     // adds an image to a store of another setup
)

// TestMain runs the tests in a private mount namespace: the storage library tries mounts when it opens a store.
func TestMain(m *testing.M) {
	if reexec.Init() {
		os.Exit(0) // the library unpacks layers in processes of its own
	}
	switch os.Getenv(roleEnv) {
	case roleRuntime:
		if err := runtimeAddsImage(os.Getenv(dirEnv)); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		os.Exit(0)
	case roleFill:
		if err := fillStore(os.Getenv(dirEnv)); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		os.Exit(0)
	case "":
		if os.Geteuid() == 0 {
			os.Exit(isolated())
		}
	}
	os.Exit(m.Run())
}

func isolated() int {
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Env = append(os.Environ(), roleEnv+"="+roleIsolated)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	err := cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exit.ExitCode()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "starting the tests in a mount namespace (needs CAP_SYS_ADMIN):", err)
		return 1
	}
	return 0
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() == 0 {
		return
	}
	if os.Getenv("CI") != "" {
		t.Fatal("containers/storage needs root")
	}
	t.Skip("containers/storage needs root")
}
