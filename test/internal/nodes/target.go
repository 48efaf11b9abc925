package nodes

import (
	"cmp"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/image-csi/image-csi-operator/hack/cluster"
	"github.com/image-csi/image-csi-operator/internal/contract"
	"github.com/image-csi/image-csi-operator/internal/privileges"
)

// KubeletRoot is the kubelet's root directory on every node.
const KubeletRoot = "/var/lib/kubelet"

// Target is one node on which the plugin runs.
type Target struct {
	Name     string
	Runtime  string // as the plugin's flag has it
	Endpoint string // of the runtime, as the plugin's flag has it
	Mode     string // as the plugin's flag has it
	Node     *cluster.Node

	program string // the node plugin, as the node sees it
	built   string // the same, as this machine sees it
}

// newTarget installs the program on a node.
func newTarget(n *cluster.Node, program string) (*Target, error) {
	t := &Target{
		Name: n.Name(), Node: n, Runtime: contract.RuntimeContainerd, Mode: contract.ModeNsenter,
		Endpoint: "unix://" + n.RuntimeSocket(), program: "/opt/node-plugin", built: program,
	}
	if n.Runtime() == cluster.CRIO {
		t.Runtime, t.Mode = contract.RuntimeCRIO, cmp.Or(os.Getenv(crioModeEnv), contract.ModeBidirectional)
	}
	return t, t.install()
}

// crioModeEnv names the mount mode in which suites run the plugin on CRI-O nodes, if it is not the class's default.
const crioModeEnv = "IMAGECSI_CRIO_MODE"

// In is the same node, on which the plugin runs in a mount mode.
func (t *Target) In(mode string) *Target {
	other := *t
	other.Mode = mode
	return &other
}

// Root is the node's root directory as seen from here.
func (t *Target) Root() string { return t.Node.Root() }

// install copies the program into the node, and gives the node what a DaemonSet's hostPath of /proc/1/ns would.
func (t *Target) install() error {
	content, err := os.Open(t.built)
	if err != nil {
		return err
	}
	defer content.Close()
	host := filepath.Join(t.Root(), filepath.Dir(filepath.Dir(filepath.Dir(contract.HostNamespacePath))))
	if err := os.MkdirAll(host, 0o755); err != nil {
		return err
	}
	if err := os.Symlink("/proc", filepath.Join(host, "proc")); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	return WriteProgram(filepath.Join(t.Root(), t.program), content)
}

// Reboot cuts the node's power and starts it again. The plugin that ran there has ended.
func (t *Target) Reboot(test testing.TB) {
	test.Helper()
	ctx, cancel := context.WithTimeout(test.Context(), 2*time.Minute)
	defer cancel()
	if err := t.Node.Reboot(ctx); err != nil {
		test.Fatal(err)
	}
	if err := t.install(); err != nil {
		test.Fatal(err)
	}
}

// launcher starts the program in the circumstances of its DaemonSet, in a mount namespace of its own: in mode Nsenter one that
// only receives what the node mounts, with no more capabilities than the DaemonSet lists and no way to gain any; in mode
// Bidirectional one whose mounts reach the node. Some of its capabilities may be dropped.
func (t *Target) launcher(dropped []privileges.Capability) []string {
	if t.Mode == contract.ModeBidirectional {
		return []string{"unshare", "--mount", "--propagation", "unchanged"}
	}
	capabilities := "-all"
	for _, c := range privileges.Container(contract.AccessReadWrite, dropped...) {
		capabilities += ",+" + strings.ToLower(c.String())
	}
	return []string{
		"unshare", "--mount", "--propagation", "slave",
		"setpriv", "--no-new-privs", "--bounding-set", capabilities, "--inh-caps", "-all",
	}
}

// Run runs a program on the node and returns what it printed.
func (t *Target) Run(test testing.TB, program string, args ...string) string {
	test.Helper()
	// Not the test's context: a clean-up runs programs, too.
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	out, err := t.Node.Command(ctx, program, args...).CombinedOutput()
	if err != nil {
		test.Fatalf("%s %s on %s: %v: %s", program, strings.Join(args, " "), t.Name, err, out)
	}
	return string(out)
}
