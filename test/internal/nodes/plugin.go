package nodes

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/image-csi/image-csi-operator/internal/contract"
	"github.com/image-csi/image-csi-operator/internal/privileges"
	"github.com/image-csi/image-csi-operator/test/internal/poll"
)

// Plugin is a node plugin that runs on one node of the suite.
type Plugin struct {
	csi.NodeClient
	csi.IdentityClient

	Target *Target
	Driver string
	Flags  []string // beside those that Start gives

	// Dropped are capabilities that its container does without, in mode Nsenter.
	Dropped []privileges.Capability

	// Seccomp is a profile, as the spec of a SeccompProfile, under which the plugin runs in a container; nil is none.
	Seccomp map[string]any

	command     *exec.Cmd
	log         string // the file's name
	conn        *grpc.ClientConn
	httpAddress string // in the node's network
	liveAddress string // likewise

	persistent sync.Map // the IDs of volumes that were published as PersistentVolumes
}

// Start starts the node plugin of the checkout on a node, under a driver name of the test's own, and stops it when the
// test ends.
func Start(t testing.TB, target *Target, driver string) *Plugin {
	t.Helper()
	p := &Plugin{Target: target, Driver: driver}
	p.Start(t)
	t.Cleanup(func() { p.Stop(t, syscall.SIGTERM) })
	return p
}

// CredentialsDir is where the node holds the driver's own secrets; there are none until a test puts some there.
func (p *Plugin) CredentialsDir() string { return filepath.Join(contract.CredentialsPath, p.Driver) }

// Start starts the plugin, again after Stop, and waits for its socket.
func (p *Plugin) Start(t testing.TB) {
	t.Helper()
	p.launch(t)
	if err := p.Answers(t); err != nil {
		t.Fatalf("the node plugin on %s: %v; its log: %s", p.Target.Name, err, p.Said())
	}
}

// StartStopped starts the plugin's process and has it stop (SIGSTOP) before it does anything.
func (p *Plugin) StartStopped(t testing.TB) {
	t.Helper()
	p.launch(t, "sh", "-c", `kill -STOP $$; exec "$@"`, "sh")
	poll.Until(t, "the process of the node plugin stops", startPatience, func() error {
		pid, err := p.pid()
		if err != nil {
			return err
		}
		if !inState(pid, "T") {
			return errors.New("it runs")
		}
		return nil
	})
}

// inState reports whether a process is in a state of proc_pid_status(5): "T" for stopped, "Z" for ended.
func inState(pid int, state string) bool {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	return err == nil && strings.Contains(string(status), "State:\t"+state)
}

func (p *Plugin) launch(t testing.TB, launcher ...string) {
	t.Helper()
	for _, dir := range []string{"plugins/" + p.Driver, "plugins_registry", "pods"} {
		if err := os.MkdirAll(filepath.Join(p.Target.Root(), KubeletRoot, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	var err error
	if p.httpAddress, err = p.Target.freeAddress(); err != nil {
		t.Fatal(err)
	}
	if p.liveAddress, err = p.Target.freeAddress(); err != nil {
		t.Fatal(err)
	}
	log, err := os.CreateTemp(t.TempDir(), "node-plugin-*.log")
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	program := append([]string{p.Target.program,
		"--" + contract.FlagDriverName + "=" + p.Driver,
		"--" + contract.FlagNodeName + "=" + p.Target.Name,
		"--" + contract.FlagRuntime + "=" + p.Target.Runtime,
		"--" + contract.FlagRuntimeEndpoint + "=" + p.Target.Endpoint,
		"--" + contract.FlagMountMode + "=" + p.Target.Mode,
		"--" + contract.FlagKubeletRoot + "=" + KubeletRoot,
		"--" + contract.FlagCredentialsDir + "=" + p.CredentialsDir(),
		"--" + contract.FlagPolicyDir + "=" + contract.CRIOPolicyDir,
		"--" + contract.FlagHTTPAddress + "=" + p.httpAddress,
		"--" + contract.FlagLiveAddress + "=" + p.liveAddress,
		"--" + contract.FlagLogLevel + "=debug",
	}, p.Flags...)
	args := slices.Concat(launcher, p.Target.launcher(p.Dropped), program)
	if p.Seccomp != nil {
		args = p.inContainer(t, program)
	}
	p.command = p.Target.Node.Command(context.Background(), args[0], args[1:]...)
	p.command.Stdout, p.command.Stderr = log, log
	p.log = log.Name()
	if err := p.command.Start(); err != nil {
		t.Fatalf("start the node plugin on %s: %v", p.Target.Name, err)
	}
	p.connect(t)
}

const (
	// dialPause is the time between two tries to connect: a plugin that starts is there in a moment.
	dialPause = 20 * time.Millisecond

	// startPatience is how long a start may take, and endPatience an end: twice what a pod gets.
	startPatience = 30 * time.Second
	endPatience   = time.Minute
)

// connect prepares calls to the socket that the kubelet would find.
func (p *Plugin) connect(t testing.TB) {
	t.Helper()
	p.conn = p.dial(t, filepath.Join(KubeletRoot, contract.PluginsDir, p.Driver, contract.SocketName))
	p.NodeClient, p.IdentityClient = csi.NewNodeClient(p.conn), csi.NewIdentityClient(p.conn)
}

// As speaks to the plugin under one of its names, also when it was started again, until the test ends.
func (p *Plugin) As(t testing.TB, name string) csi.NodeClient {
	t.Helper()
	conn := p.dial(t, p.endpoint(t, name), grpc.WithDefaultCallOptions(grpc.WaitForReady(true)))
	t.Cleanup(func() { conn.Close() })
	return csi.NewNodeClient(conn)
}

// dial prepares calls to a socket in the node, by way of the node's root.
func (p *Plugin) dial(t testing.TB, path string, options ...grpc.DialOption) *grpc.ClientConn {
	t.Helper()
	socket := filepath.Join(p.Target.Root(), path)
	conn, err := grpc.NewClient("unix:"+socket, append(options, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithConnectParams(grpc.ConnectParams{MinConnectTimeout: startPatience, Backoff: backoff.Config{BaseDelay: dialPause, MaxDelay: dialPause}}))...)
	if err != nil {
		t.Fatal(err)
	}
	return conn
}

// Conn is the connection to the CSI socket, for calls that no client makes.
func (p *Plugin) Conn() grpc.ClientConnInterface { return p.conn }

// StartAndSweep is Start, and waits for the sweep at the start. What that sweep finds unused, the one at the end releases.
func (p *Plugin) StartAndSweep(t testing.TB) {
	t.Helper()
	p.Start(t)
	poll.Until(t, "the node plugin sweeps at its start", startPatience, func() error {
		if !strings.Contains(p.Said(), "sweep complete") {
			return fmt.Errorf("its log: %s", p.Said())
		}
		return nil
	})
}

// Answers waits until the plugin answers, and returns why it does not.
func (p *Plugin) Answers(t testing.TB) error {
	t.Helper()
	for deadline := time.Now().Add(startPatience); ; {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		_, err := p.GetPluginInfo(ctx, &csi.GetPluginInfoRequest{}, grpc.WaitForReady(true))
		cancel()
		if err == nil {
			return nil
		}
		if time.Now().After(deadline) || inState(p.command.Process.Pid, "Z") {
			return err
		}
	}
}

// Stop ends the plugin with a signal and waits for it. It does nothing where Start was not called since.
func (p *Plugin) Stop(t testing.TB, signal syscall.Signal) {
	t.Helper()
	if p.command == nil {
		return
	}
	if err := p.Signal(signal); err != nil {
		t.Errorf("signal to the node plugin: %v; its log: %s", err, p.Said())
	}
	err := p.Wait(t)
	if signal == syscall.SIGTERM && err != nil {
		t.Errorf("the node plugin ended with %v; its log: %s", err, p.Said())
	}
}

// Signal sends the plugin a signal. It is an error if its process has ended.
func (p *Plugin) Signal(signal syscall.Signal) error {
	pid, err := p.pid()
	if err != nil {
		return err
	}
	return syscall.Kill(pid, signal)
}

// Wait waits for a plugin that is about to end, and returns how it did.
func (p *Plugin) Wait(t testing.TB) error {
	t.Helper()
	if p.command == nil {
		return nil
	}
	ended := p.wait(t)
	// What would have ended the process without its guards is a defect all the same.
	if strings.Contains(p.Said(), "panic") {
		t.Error("the node plugin panicked")
	}
	if t.Failed() {
		t.Logf("log of the node plugin on %s:\n%s", p.Target.Name, p.Said())
	}
	p.command = nil
	if err := p.conn.Close(); err != nil {
		t.Error(err)
	}
	return ended
}

// wait ends a plugin that does not end on its own.
func (p *Plugin) wait(t testing.TB) error {
	t.Helper()
	ended := make(chan error, 1)
	go func() { ended <- p.command.Wait() }()
	select {
	case err := <-ended:
		return err
	case <-time.After(endPatience):
	}
	t.Errorf("the node plugin on %s did not end within %s", p.Target.Name, endPatience)
	_ = p.Signal(syscall.SIGKILL)
	_ = p.command.Process.Kill() // what started it in the node
	return <-ended
}

// PID is the plugin's own process, as this machine counts them.
func (p *Plugin) PID(t testing.TB) int {
	t.Helper()
	pid, err := p.pid()
	if err != nil {
		t.Fatalf("the node plugin on %s: %v; its log: %s", p.Target.Name, err, p.Said())
	}
	return pid
}

// pid finds the process that the one which entered the node has started.
func (p *Plugin) pid() (int, error) {
	commands, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		return 0, err
	}
	for _, path := range commands {
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		if err != nil || p.command == nil || pid == p.command.Process.Pid {
			continue
		}
		content, err := os.ReadFile(path)
		arguments := strings.Split(string(content), "\x00")
		if err == nil && slices.Contains(arguments, p.Target.program) && slices.Contains(arguments, "--"+contract.FlagDriverName+"="+p.Driver) {
			return pid, nil
		}
	}
	return 0, errors.New("its process has ended")
}

// Said is the plugin's log since its last start.
func (p *Plugin) Said() string {
	content, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	return string(content)
}

// Mounts are the lines of the node's mount table that name the driver.
func (p *Plugin) Mounts(t testing.TB) []string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(p.Target.Root(), "proc/1/mountinfo"))
	if err != nil {
		t.Fatal(err)
	}
	var ours []string
	for line := range strings.Lines(string(content)) {
		if strings.Contains(line, "imagecsi:"+p.Driver+"@") {
			ours = append(ours, line)
		}
	}
	return ours
}
