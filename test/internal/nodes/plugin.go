package nodes

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/image-csi/image-csi-operator/internal/contract"
	"github.com/image-csi/image-csi-operator/test/internal/poll"
)

// Plugin is a node plugin that runs on one node of the suite.
type Plugin struct {
	csi.NodeClient
	csi.IdentityClient

	Target *Target
	Driver string
	Flags  []string // beside those that Start gives

	command *exec.Cmd
	log     *os.File
	conn    *grpc.ClientConn
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
	for _, dir := range []string{"plugins/" + p.Driver, "plugins_registry", "pods"} {
		if err := os.MkdirAll(filepath.Join(p.Target.Root(), KubeletRoot, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	log, err := os.CreateTemp(t.TempDir(), "node-plugin-*.log")
	if err != nil {
		t.Fatal(err)
	}
	args := append(p.Target.launcher(), p.Target.program,
		"--"+contract.FlagDriverName+"="+p.Driver,
		"--"+contract.FlagNodeName+"="+p.Target.Name,
		"--"+contract.FlagRuntime+"="+p.Target.Runtime,
		"--"+contract.FlagRuntimeEndpoint+"="+p.Target.Endpoint,
		"--"+contract.FlagMountMode+"="+p.Target.Mode,
		"--"+contract.FlagKubeletRoot+"="+KubeletRoot,
		"--"+contract.FlagCredentialsDir+"="+p.CredentialsDir(),
		"--"+contract.FlagHTTPAddress+"=127.0.0.1:0",
		"--"+contract.FlagLogLevel+"=debug",
	)
	args = append(args, p.Flags...)
	p.command = p.Target.Node.Command(context.Background(), args[0], args[1:]...)
	p.command.Stdout, p.command.Stderr = log, log
	p.log = log
	if err := p.command.Start(); err != nil {
		t.Fatalf("start the node plugin on %s: %v", p.Target.Name, err)
	}
	p.dial(t)
}

// dialPause is the time between two tries to connect: a plugin that starts is there in a moment.
const dialPause = 20 * time.Millisecond

// dial connects to the socket that the kubelet would find, by way of the node's root.
func (p *Plugin) dial(t testing.TB) {
	t.Helper()
	socket := filepath.Join(p.Target.Root(), KubeletRoot, contract.PluginsDir, p.Driver, contract.SocketName)
	conn, err := grpc.NewClient("unix:"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: backoff.Config{BaseDelay: dialPause, MaxDelay: dialPause}}))
	if err != nil {
		t.Fatal(err)
	}
	p.conn = conn
	p.NodeClient, p.IdentityClient = csi.NewNodeClient(conn), csi.NewIdentityClient(conn)
	poll.Until(t, "the node plugin answers", 30*time.Second, func() error {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := p.GetPluginInfo(ctx, &csi.GetPluginInfoRequest{}, grpc.WaitForReady(true)); err != nil {
			return fmt.Errorf("%w; its log: %s", err, p.Said())
		}
		return nil
	})
}

// Stop ends the plugin with a signal and waits for it. It does nothing where Start was not called since.
func (p *Plugin) Stop(t testing.TB, signal syscall.Signal) {
	t.Helper()
	if p.command == nil {
		return
	}
	if err := syscall.Kill(p.PID(t), signal); err != nil {
		t.Errorf("signal to the node plugin: %v; its log: %s", err, p.Said())
	}
	err := p.Wait(t)
	if signal == syscall.SIGTERM && err != nil {
		t.Errorf("the node plugin ended with %v; its log: %s", err, p.Said())
	}
}

// Wait waits for a plugin that is about to end, and returns how it did.
func (p *Plugin) Wait(t testing.TB) error {
	t.Helper()
	ended := p.command.Wait()
	if t.Failed() {
		t.Logf("log of the node plugin on %s:\n%s", p.Target.Name, p.Said())
	}
	p.command = nil
	if err := p.conn.Close(); err != nil {
		t.Error(err)
	}
	return ended
}

// PID is the plugin's process itself, which the one that entered the node has started, as this machine counts.
func (p *Plugin) PID(t testing.TB) int {
	t.Helper()
	commands, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range commands {
		content, err := os.ReadFile(path)
		if err == nil && strings.HasPrefix(string(content), p.Target.program+"\x00") && strings.Contains(string(content), "="+p.Driver+"\x00") {
			pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path)))
			if err != nil {
				t.Fatal(err)
			}
			return pid
		}
	}
	t.Fatalf("the node plugin does not run on %s; its log: %s", p.Target.Name, p.Said())
	return 0
}

// Said is the plugin's log since its last start.
func (p *Plugin) Said() string {
	content, err := os.ReadFile(p.log.Name())
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
