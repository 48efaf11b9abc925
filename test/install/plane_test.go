package install

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/image-csi/image-csi-operator/hack/cluster"
	"github.com/image-csi/image-csi-operator/hack/cluster/checkout"
	"github.com/image-csi/image-csi-operator/hack/cluster/gobuild"
	"github.com/image-csi/image-csi-operator/hack/cluster/image"
	"github.com/image-csi/image-csi-operator/hack/cluster/programs"
	"github.com/image-csi/image-csi-operator/hack/cluster/project"
	"github.com/image-csi/image-csi-operator/test/internal/exclusive"
)

func TestMain(m *testing.M) {
	cluster.Init()
	log.SetLogger(logr.Discard())
	os.Exit(m.Run())
}

// plane is a cluster, and the shell of a person who administers it and has a release, of which the image and the chart are in a
// registry.
type plane struct {
	root       string // the checkout
	cluster    *cluster.Cluster
	release    string // the release's directory, in which the shell is
	registry   string // host and port
	programs   string // the directory of kubectl and helm
	manager    string // the operator's program
	kubeconfig string
	home       string
}

// start brings a cluster up until the test ends, and makes a release for this machine's architecture. The cluster is a control plane with
// a simulated node, which needs no root.
func start(t *testing.T) *plane {
	t.Helper()
	p := bringUp(t, cluster.Config{Name: fmt.Sprintf("install-%d", os.Getpid()), StateDir: filepath.Join(t.TempDir(), "state")})
	p.manager = operatorOf(t, p.registry+repository)
	runNode(t, p)
	return p
}

// onNode is start for a cluster of a name, with a real node, which needs root.
func onNode(t *testing.T, name string) *plane {
	t.Helper()
	if missing := cluster.CannotRunNodes(); missing != nil {
		t.Skip(missing)
	}
	unlock, err := exclusive.Cluster(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(unlock)
	if err := programs.InstallDebian(t.Context(), os.Stdout, "busybox-static"); err != nil {
		t.Fatal(err)
	}
	return bringUp(t, cluster.Config{Name: name, Nodes: []cluster.NodeConfig{{Name: "n1", Runtime: cluster.Containerd}}})
}

// pushShell puts the image that the samples mount where the node looks for it.
func (p *plane) pushShell(t *testing.T) {
	t.Helper()
	busybox, err := image.Busybox()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cluster.Push(t.Context(), "library/busybox:1", busybox); err != nil {
		t.Fatal(err)
	}
}

// bringUp brings a cluster up until the test ends, and puts a release of the checkout into its registry.
func bringUp(t *testing.T, config cluster.Config) *plane {
	t.Helper()
	root, err := checkout.Root()
	if err != nil {
		t.Fatal(err)
	}
	kubernetes, err := programs.Kubernetes(cluster.DefaultKubernetes)
	if err != nil {
		t.Fatal(err)
	}
	if err := programs.Ensure(t.Context(), os.Stdout, nil, kubernetes); err != nil {
		t.Fatal(err)
	}
	built, err := kubernetes.Dir()
	if err != nil {
		t.Fatal(err)
	}
	p := &plane{root: root, programs: t.TempDir(), home: t.TempDir()}
	if err := os.Symlink(filepath.Join(built, "kubectl"), filepath.Join(p.programs, "kubectl")); err != nil {
		t.Fatal(err)
	}
	helm := gobuild.Program(t.Context(), filepath.Join(root, "hack", "tools", "chart"), "helm.sh/helm/v4/cmd/helm", filepath.Join(p.programs, "helm"))
	plugin := gobuild.Program(t.Context(), root, "./cmd/kubectl-imagecsi", filepath.Join(p.programs, "kubectl-imagecsi"))
	if err := errors.Join(helm, plugin); err != nil {
		t.Fatal(err)
	}

	config.Progress = func(step string) { t.Log(step) }
	p.cluster, err = cluster.Up(t.Context(), config)
	if p.cluster != nil {
		t.Cleanup(func() {
			if err := p.cluster.Down(context.Background()); err != nil {
				t.Error(err)
			}
		})
	}
	if err != nil {
		t.Fatal(err)
	}
	p.kubeconfig, p.registry = p.cluster.Kubeconfig(), p.cluster.HostRegistry()
	p.release = p.made(t, version)
	return p
}

// repository is the operator's image in the cluster's registry.
const repository = "/image-csi/image-csi-operator"

// made makes a release, puts it into the cluster's registry, and returns its directory.
func (p *plane) made(t *testing.T, version string) string {
	t.Helper()
	dir, images := filepath.Join(t.TempDir(), "dist"), filepath.Join(p.root, "hack", "image")
	golang(t, images, "run", ".", "make", "-root", p.root, "-dir", dir, "-version", version, "-repository", p.cluster.Registry()+repository, "-architectures", runtime.GOARCH)
	golang(t, images, "run", ".", "push", "-dir", dir, "-repository", p.registry+repository, "-plain-http")
	return dir
}

// version is the checkout's.
var version = strings.TrimPrefix(project.Tag, "v")

// operatorOf takes the operator's program out of an image.
func operatorOf(t *testing.T, repository string) string {
	t.Helper()
	tag, err := name.NewTag(repository+":v"+version, name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	built, err := remote.Image(tag, remote.WithPlatform(v1.Platform{OS: "linux", Architecture: runtime.GOARCH}))
	if err != nil {
		t.Fatal(err)
	}
	content := mutate.Extract(built)
	defer content.Close()
	for files := tar.NewReader(content); ; {
		header, err := files.Next()
		if err != nil {
			t.Fatalf("find the operator's program in %s: %v", tag, err)
		}
		if strings.Trim(header.Name, "./") != "manager" {
			continue
		}
		out, err := os.OpenFile(filepath.Join(t.TempDir(), "manager"), os.O_CREATE|os.O_WRONLY, 0o755)
		if err != nil {
			t.Fatal(err)
		}
		_, err = io.Copy(out, files)
		if err := errors.Join(err, out.Close()); err != nil {
			t.Fatal(err)
		}
		return out.Name()
	}
}

// golang runs the go command in a module.
func golang(t *testing.T, module string, args ...string) {
	t.Helper()
	command := exec.CommandContext(t.Context(), "go", args...)
	command.Dir = module
	command.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := command.CombinedOutput(); err != nil {
		t.Fatalf("go %q: %v: %s", args, err, out)
	}
}

// sh runs a script in the release's directory and returns what it prints. What it prints on failure is in the error.
func (p *plane) sh(ctx context.Context, script string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 6*time.Minute)
	defer cancel()
	command := exec.CommandContext(ctx, "bash", "-euo", "pipefail", "-c", script)
	command.Dir = p.release
	command.Env = append(os.Environ(), "PATH="+p.programs+":"+os.Getenv("PATH"), "HOME="+p.home, "KUBECONFIG="+p.kubeconfig)
	var out, said bytes.Buffer
	command.Stdout, command.Stderr = &out, &said
	if err := command.Run(); err != nil {
		return out.String(), fmt.Errorf("%s: %w: %s%s", script, err, &out, &said)
	}
	return strings.TrimSpace(out.String()), nil
}

func (p *plane) must(t *testing.T, script string) string {
	t.Helper()
	out, err := p.sh(t.Context(), script)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// refused runs a script that must fail with certain words.
func (p *plane) refused(t *testing.T, script string, words ...string) {
	t.Helper()
	_, err := p.sh(t.Context(), script)
	for _, part := range words {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Fatalf("%s: %v, want an error that has %q", script, err, part)
		}
	}
}

// want runs a script and wants a certain output.
func (p *plane) want(t *testing.T, script, output string) {
	t.Helper()
	if out := p.must(t, script); out != output {
		t.Errorf("%s prints %q, want %q", script, out, output)
	}
}
