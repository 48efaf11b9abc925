package node

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/image-csi/image-csi-operator/hack/cluster/cluster"
	"github.com/image-csi/image-csi-operator/hack/cluster/image"
	"github.com/image-csi/image-csi-operator/hack/cluster/project"
	"github.com/image-csi/image-csi-operator/internal/contract"
	"github.com/image-csi/image-csi-operator/test/internal/exclusive"
)

// target is one container runtime on which the tests run the node plugin.
type target struct {
	name, runtime, endpoint, mode string
	program                       string // the node plugin, as the node sees it
	node                          *cluster.Node
}

const clusterName = "node-tests"

// suite is what all tests of the package share.
var suite struct {
	targets  []*target
	registry string // host and port
	skip     string
}

func TestMain(m *testing.M) {
	cluster.Init()
	os.Exit(run(m))
}

func run(m *testing.M) int {
	if missing := cluster.CannotRunNodes(); missing != nil {
		if os.Getenv("CI") != "" {
			fmt.Fprintln(os.Stderr, "the node plugin's tests cannot run:", missing)
			return 1
		}
		suite.skip = missing.Error()
		return m.Run()
	}
	unlock, err := exclusive.Lock(clusterName)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer unlock()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Minute)
	defer cancel()
	down, err := setUp(ctx)
	if err != nil {
		fmt.Fprintln(os.Stderr, "set up the nodes:", err)
		return 1
	}
	code := m.Run()
	if err := down(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "take down the nodes:", err)
		return 1
	}
	return code
}

func setUp(ctx context.Context) (down func(context.Context) error, err error) {
	none := func(context.Context) error { return nil }
	c, err := cluster.Up(ctx, cluster.Config{
		Name:         clusterName,
		ControlPlane: cluster.ControlPlaneNone,
		Nodes: []cluster.NodeConfig{
			{Name: "containerd", Runtime: cluster.Containerd},
			{Name: "containerd-16", Runtime: cluster.Containerd16},
			{Name: "crio", Runtime: cluster.CRIO},
		},
		Progress: func(step string) { fmt.Println(step) },
	})
	if err != nil {
		return none, err
	}
	suite.registry = c.Registry()
	if err := push(ctx, c); err != nil {
		return c.Down, err
	}
	programs, err := project.Build(ctx, c.StateDir())
	if err != nil {
		return c.Down, err
	}
	for _, n := range c.Nodes() {
		t := &target{name: n.Name(), node: n, runtime: contract.RuntimeContainerd, mode: contract.ModeNsenter}
		if n.Runtime() == cluster.CRIO {
			t.runtime, t.mode = contract.RuntimeCRIO, contract.ModeBidirectional
		}
		t.endpoint = "unix://" + n.RuntimeSocket()
		if err := t.install(programs.NodePlugin); err != nil {
			return c.Down, err
		}
		suite.targets = append(suite.targets, t)
	}
	return c.Down, nil
}

// push puts the tests' images into the registry: numbered ones, of each number of layers.
func push(ctx context.Context, c *cluster.Cluster) error {
	if err := pushOwned(ctx, c); err != nil {
		return err
	}
	if err := pushPrivate(ctx, c); err != nil {
		return err
	}
	if err := pushTooLarge(ctx, c); err != nil {
		return err
	}
	for _, layers := range []int{1, 2, 10, 60, 100} {
		made, err := image.Numbered(layers)
		if err != nil {
			return err
		}
		if err := c.Push(ctx, fmt.Sprintf("test/numbered:%d", layers), made); err != nil {
			return err
		}
	}
	return nil
}

// numbered is the reference of an image of n layers (see image.Numbered).
func numbered(n int) string { return fmt.Sprintf("registry.example/test/numbered:%d", n) }

// root is the node's root directory as seen from here.
func (t *target) root() string { return t.node.Root() }

// install copies the program into the node, and gives the node what a DaemonSet's hostPath of /proc/1/ns would.
func (t *target) install(program string) error {
	content, err := os.ReadFile(program)
	if err != nil {
		return err
	}
	t.program = "/opt/node-plugin"
	host := filepath.Join(t.root(), filepath.Dir(filepath.Dir(filepath.Dir(contract.HostNamespacePath))))
	if err := os.MkdirAll(host, 0o755); err != nil {
		return err
	}
	if err := os.Symlink("/proc", filepath.Join(host, "proc")); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	return os.WriteFile(filepath.Join(t.root(), t.program), content, 0o755)
}

// launcher starts the program in the circumstances of its DaemonSet: on containerd in a mount namespace of its own
// with no more capabilities than the DaemonSet lists and no way to gain any; on CRI-O in the node's.
func (t *target) launcher() []string {
	if t.mode == contract.ModeBidirectional {
		return nil
	}
	const capabilities = "-all,+sys_admin,+sys_chroot,+sys_ptrace,+dac_override,+chown,+fowner,+setfcap,+mknod,+fsetid"
	return []string{
		"unshare", "--mount", "--propagation", "slave",
		"setpriv", "--no-new-privs", "--bounding-set", capabilities, "--inh-caps", "-all",
	}
}

// signal sends a signal to the plugin itself, which the process that entered the node has started.
func (p *plugin) signal(t *testing.T, signal syscall.Signal) {
	t.Helper()
	commands, err := filepath.Glob(filepath.Join(p.target.root(), "proc/[0-9]*/cmdline"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range commands {
		content, err := os.ReadFile(path)
		if err == nil && strings.HasPrefix(string(content), p.target.program+"\x00") && strings.Contains(string(content), "="+p.driver+"\x00") {
			p.target.inNode(t, "kill", fmt.Sprintf("-%d", signal), filepath.Base(filepath.Dir(path)))
			return
		}
	}
	t.Errorf("the node plugin does not run on %s; its log: %s", p.target.name, p.said())
}

// onEveryRuntime runs a test with a node plugin of its own on each runtime, and wants nothing left afterwards.
func onEveryRuntime(t *testing.T, test func(*testing.T, *plugin)) {
	if suite.skip != "" {
		t.Skip(suite.skip)
	}
	for _, target := range suite.targets {
		t.Run(target.name, func(t *testing.T) {
			driver := "t" + strings.ToLower(fmt.Sprintf("%x", time.Now().UnixNano())) + ".test.example"
			test(t, startPlugin(t, target, driver))
		})
	}
}

// inNode runs a program on the node.
func (t *target) inNode(test *testing.T, program string, args ...string) string {
	test.Helper()
	// Not the test's context: a clean-up runs programs, too.
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	out, err := t.node.Command(ctx, program, args...).CombinedOutput()
	if err != nil {
		test.Fatalf("%s %s on %s: %v: %s", program, strings.Join(args, " "), t.name, err, out)
	}
	return string(out)
}
