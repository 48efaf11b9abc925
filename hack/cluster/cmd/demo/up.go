package main

import (
	"context"
	_ "embed"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sync/errgroup"

	"github.com/image-csi/image-csi-operator/hack/cluster"
	"github.com/image-csi/image-csi-operator/hack/cluster/checkout"
	"github.com/image-csi/image-csi-operator/hack/cluster/image"
	"github.com/image-csi/image-csi-operator/hack/cluster/programs"
	"github.com/image-csi/image-csi-operator/hack/cluster/project"
)

const driver = "container-image.csi.k8s.io"

//go:embed workload.yaml
var workload string

// The demo's nodes: one of each kind. What the first needs is built first, so that it shows an image while CRI-O is not compiled yet.
var (
	firstNode = cluster.NodeConfig{Name: "worker-1", Runtime: cluster.Containerd}
	crioNode  = cluster.NodeConfig{Name: "worker-2", Runtime: cluster.CRIO}
)

func up(ctx context.Context, s steps) error {
	if reason := cluster.CannotRunNodes(); reason != nil {
		return upSimulated(ctx, s, reason)
	}
	var later errgroup.Group
	later.Go(func() error { return programs.Fetch(ctx, programs.CRIO()) })
	c, binaries, err := startCluster(ctx, s, []string{"busybox-static", "conmon"}, firstNode)
	if err != nil {
		return err
	}
	k, err := client(c)
	if err != nil {
		return err
	}
	s.say("pushing the operator's image, a shell and an image of files to the cluster's registry")
	if err := pushImages(ctx, c, binaries); err != nil {
		return err
	}
	if err := install(ctx, s, k); err != nil {
		return err
	}
	s.say("starting a pod for each kind of node")
	if err := k.run(ctx, workload, "apply", "-f", "-"); err != nil {
		return err
	}
	if err := k.run(ctx, "", "wait", "--for=condition=Ready", "--timeout=120s", "pod/reader-containerd"); err != nil {
		return err
	}
	s.say("the pod on the containerd node reads a file of its image:")
	if err := k.show(ctx, "exec", "reader-containerd", "--", "cat", "/image/hello.txt"); err != nil {
		return err
	}
	if err := later.Wait(); err != nil {
		return err
	}
	if err := joinCRIO(ctx, s); err != nil {
		return err
	}
	if err := k.run(ctx, "", "wait", "--for=condition=Ready", "--timeout=180s", "pod/reader-crio"); err != nil {
		return err
	}
	s.say("done")
	return showAll(ctx, k)
}

// joinCRIO builds what the second node needs besides, and adds it to the running cluster.
func joinCRIO(ctx context.Context, s steps) error {
	s.say("a second node, of CRI-O, joins")
	config := configOf(s, firstNode, crioNode)
	if err := cluster.Prepare(ctx, os.Stdout, config); err != nil {
		return err
	}
	_, err := cluster.Up(ctx, config)
	return err
}

// configOf is the demo's cluster with some nodes, which shows its steps.
func configOf(s steps, nodes ...cluster.NodeConfig) cluster.Config {
	return cluster.Config{Nodes: nodes, Progress: func(step string) { s.say("%s", step) }}
}

// startCluster builds the project and brings the cluster up, side by side. The cluster's programs are built before: what they
// have in common with the project is then compiled already.
func startCluster(ctx context.Context, s steps, packages []string, nodes ...cluster.NodeConfig) (*cluster.Cluster, project.Binaries, error) {
	var binaries project.Binaries
	var c *cluster.Cluster
	config := configOf(s, nodes...)
	if err := cluster.Prepare(ctx, os.Stdout, config, packages...); err != nil {
		return nil, binaries, err
	}
	var group errgroup.Group
	group.Go(func() (err error) {
		s.say("building the operator and the node plugin")
		binaries, err = buildProject(ctx)
		return err
	})
	group.Go(func() (err error) {
		c, err = cluster.Up(ctx, config)
		return err
	})
	err := group.Wait()
	return c, binaries, err
}

func buildProject(ctx context.Context) (project.Binaries, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return project.Binaries{}, err
	}
	dir := filepath.Join(cache, "image-csi-operator", "demo")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return project.Binaries{}, err
	}
	return project.Build(ctx, dir)
}

func client(c *cluster.Cluster) (kubectl, error) {
	root, err := checkout.Root()
	if err != nil {
		return kubectl{}, err
	}
	kubernetes, err := programs.Kubernetes(cluster.DefaultKubernetes)
	if err != nil {
		return kubectl{}, err
	}
	dir, err := kubernetes.Dir()
	return newKubectl(dir, c.Kubeconfig(), root), err
}

func pushImages(ctx context.Context, c *cluster.Cluster, binaries project.Binaries) error {
	if err := binaries.Push(ctx, c); err != nil {
		return err
	}
	hello, err := image.Data(
		[]image.File{{Path: "/hello.txt", Content: []byte("Hello from an image, mounted as a volume.\n")}},
		[]image.File{{Path: "/more/second-layer.txt", Content: []byte("A second layer.\n")}},
	)
	if err != nil {
		return err
	}
	return c.Push(ctx, "demo/hello:1", hello)
}

// install applies what a user would: the operator, then one ImageCSIDriver.
func install(ctx context.Context, s steps, k kubectl) error {
	s.say("installing the operator: kubectl apply -k config/default")
	if err := k.run(ctx, "", "apply", "--server-side", "-k", "config/default"); err != nil {
		return err
	}
	s.say("having read-only volumes keep nosuid and nodev in pods: kubectl apply -k config/mutation")
	if err := k.run(ctx, "", "apply", "--server-side", "-k", "config/mutation"); err != nil {
		return err
	}
	if err := k.run(ctx, "", "wait", "--for=condition=Established", "--timeout=60s", "crd/imagecsidrivers.storage.imagecsi.dev"); err != nil {
		return err
	}
	s.say("applying one ImageCSIDriver with an empty spec, and waiting until it is available on every node")
	if err := k.run(ctx, "", "apply", "-f", "config/samples/storage_v1alpha1_imagecsidriver.yaml"); err != nil {
		return err
	}
	return k.run(ctx, "", "wait", "--for=condition=Available", "--timeout=120s", "imagecsidriver/"+driver)
}

func down(ctx context.Context) error {
	c, err := cluster.Open(cluster.DefaultName)
	if err != nil {
		return err
	}
	if err := stopOperator(ctx, c); err != nil {
		return err
	}
	if err := c.Down(ctx); err != nil {
		return err
	}
	fmt.Println("the demo is gone: no process, mount, network namespace or control group of it is left")
	return nil
}
