package nodes

import (
	"context"
	"flag"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/image-csi/image-csi-operator/hack/cluster"
	"github.com/image-csi/image-csi-operator/hack/cluster/image"
	"github.com/image-csi/image-csi-operator/hack/cluster/project"
	"github.com/image-csi/image-csi-operator/test/internal/exclusive"
)

// Suite is what all tests of a package share: nodes and a registry. Its exported fields say what is wanted.
type Suite struct {
	// Name is the name of the suite's cluster. Two runs of one name wait for each other.
	Name string

	// Nodes are the nodes to run the plugin on.
	Nodes []cluster.NodeConfig

	// InTurn has the tests run one after the other: Ginkgo refuses Go's flag -parallel.
	InTurn bool

	// Layers are the numbers of layers for which the registry gets an image (see Numbered).
	Layers []int

	// Prepare puts further images into the registry.
	Prepare []func(context.Context, *cluster.Cluster) error

	cluster  *cluster.Cluster
	binaries project.Binaries
	targets  []*Target
	skip     string
}

// EveryRuntime is one node for each container runtime.
func EveryRuntime() []cluster.NodeConfig {
	return []cluster.NodeConfig{
		{Name: "containerd", Runtime: cluster.Containerd},
		{Name: "containerd-16", Runtime: cluster.Containerd16},
		{Name: "crio", Runtime: cluster.CRIO},
	}
}

// setUpTimeout bounds everything that precedes and follows the tests.
const setUpTimeout = 20 * time.Minute

// Run starts the nodes, runs the tests and takes the nodes down; TestMain calls it first of all and exits with what it
// returns. Where nodes cannot run, tests are skipped, but in CI that is a failure.
func (s *Suite) Run(m *testing.M) int {
	cluster.Init()
	if err := s.sideBySide(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	if missing := cluster.CannotRunNodes(); missing != nil {
		if os.Getenv("CI") != "" {
			fmt.Fprintf(os.Stderr, "%s cannot run: %v\n", s.Name, missing)
			return 1
		}
		s.skip = missing.Error()
		return m.Run()
	}
	unlock, err := exclusive.Cluster(context.Background(), s.Name)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer unlock()
	ctx, cancel := context.WithTimeout(context.Background(), setUpTimeout)
	defer cancel()
	code := 1
	if err := s.setUp(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "set up the nodes:", err)
	} else {
		code = m.Run()
	}
	if s.cluster == nil {
		return code
	}
	if err := s.cluster.Down(context.WithoutCancel(ctx)); err != nil {
		fmt.Fprintln(os.Stderr, "take down the nodes:", err)
		return 1
	}
	return code
}

// sideBySide has as many tests run at the same time as there are nodes, whatever the number of processors, because they wait more
// than they compute. The flag -parallel takes precedence.
func (s *Suite) sideBySide() error {
	flag.Parse()
	const parallel = "test.parallel"
	given := s.InTurn
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == parallel })
	if given {
		return nil
	}
	return flag.Set(parallel, strconv.Itoa(len(s.Nodes)))
}

func (s *Suite) setUp(ctx context.Context) error {
	c, err := cluster.Up(ctx, cluster.Config{
		Name:         s.Name,
		ControlPlane: cluster.ControlPlaneNone,
		Nodes:        s.Nodes,
		Progress:     func(step string) { fmt.Println(step) },
	})
	if err != nil {
		return err
	}
	s.cluster = c
	if err := s.push(ctx); err != nil {
		return err
	}
	if s.binaries, err = project.Build(ctx, c.StateDir()); err != nil {
		return err
	}
	for _, n := range c.Nodes() {
		t, err := newTarget(n, s.binaries.NodePlugin)
		if err != nil {
			return err
		}
		s.targets = append(s.targets, t)
	}
	return nil
}

func (s *Suite) push(ctx context.Context) error {
	for _, layers := range s.Layers {
		made, err := image.Numbered(layers)
		if err != nil {
			return err
		}
		if err := s.cluster.Push(ctx, fmt.Sprintf("test/numbered:%d", layers), made); err != nil {
			return err
		}
	}
	for _, push := range s.Prepare {
		if err := push(ctx, s.cluster); err != nil {
			return err
		}
	}
	return nil
}

// Numbered is the reference of an image of n layers (see image.Numbered), one of the suite's Layers.
func Numbered(n int) string { return fmt.Sprintf("registry.example/test/numbered:%d", n) }

// Push puts an image into the registry, in place of the one that has the reference.
func (s *Suite) Push(t testing.TB, reference string, made v1.Image) {
	t.Helper()
	if err := s.cluster.Push(t.Context(), reference, made); err != nil {
		t.Fatal(err)
	}
}

// Registry is the host and port of the nodes' registry. It serves the images of every other name, too.
func (s *Suite) Registry() string { return s.cluster.Registry() }

// Binaries are those of the checkout, built for the suite.
func (s *Suite) Binaries() project.Binaries { return s.binaries }

// Targets are the suite's nodes; the test is skipped where there cannot be any.
func (s *Suite) Targets(t testing.TB) []*Target {
	if s.skip != "" {
		t.Skip(s.skip)
	}
	return s.targets
}

// OnEveryNode runs a test with a node plugin of its own on each node, side by side. What the tests on the nodes share is the
// registry, so what they push has the node's name in it.
func (s *Suite) OnEveryNode(t *testing.T, test func(*testing.T, *Plugin)) {
	for _, target := range s.Targets(t) {
		t.Run(target.Name, func(t *testing.T) {
			t.Parallel()
			test(t, Start(t, target, DriverName()))
		})
	}
}

// DriverName makes up a driver name that no other test has.
func DriverName() string {
	return "t" + strings.ToLower(fmt.Sprintf("%x", time.Now().UnixNano())) + ".test.example"
}
