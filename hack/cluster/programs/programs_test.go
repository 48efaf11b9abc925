package programs

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/image-csi/image-csi-operator/hack/cluster/checkout"
)

func TestKubernetesRefusesAReleaseThatIsNotPinned(t *testing.T) {
	_, err := Kubernetes("1.12")
	if err == nil || !strings.Contains(err.Error(), "choose 1.37 or 1.36") {
		t.Errorf("error = %v, want one that names the pinned releases", err)
	}
}

func TestDirChangesWithTheBuild(t *testing.T) {
	plain, err := Containerd().Dir()
	if err != nil {
		t.Fatal(err)
	}
	tagged := Containerd()
	tagged.tags = append(tagged.tags, "extra")
	other, err := tagged.Dir()
	if err != nil {
		t.Fatal(err)
	}
	if plain == other {
		t.Errorf("both builds are cached at %s", plain)
	}
	if base := filepath.Base(plain); !strings.HasPrefix(base, "containerd-2.4.2-") {
		t.Errorf("cache entry %q does not start with the set's name", base)
	}
}

func TestKeyHashesEveryProgramBesideThePins(t *testing.T) {
	root, err := checkout.Root()
	if err != nil {
		t.Fatal(err)
	}
	pins := filepath.Join(root, "hack", "cluster", "pins", "kubernetes-1.37")
	var hashed bytes.Buffer
	if err := hashSources(&hashed, filepath.Base(pins)); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"go.mod", "go.sum", "main.go", "kubectl/main.go"} {
		content, err := os.ReadFile(filepath.Join(pins, name))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Contains(hashed.Bytes(), content) {
			t.Errorf("a change of %s would not build the programs again", name)
		}
	}
}

func TestKubernetesReportsItsVersion(t *testing.T) {
	c, err := Kubernetes("1.37")
	if err != nil {
		t.Fatal(err)
	}
	flags := strings.Join(c.ldflags, " ")
	for _, want := range []string{"k8s.io/component-base/version.gitVersion=v1.37.2", "k8s.io/client-go/pkg/version.gitMinor=37"} {
		if !strings.Contains(flags, want) {
			t.Errorf("link flags lack %s", want)
		}
	}
}

func TestProgressKeepsTheLastLinesForAnError(t *testing.T) {
	var out bytes.Buffer
	bar := newProgress(&out, "building x", 2)
	for _, line := range []string{"go: downloading a v1\n", "a\nb", "\nc.go:1: broken\n"} {
		if _, err := bar.Write([]byte(line)); err != nil {
			t.Fatal(err)
		}
	}
	if got, want := bar.tail(), "go: downloading a v1\na\nb\nc.go:1: broken"; got != want {
		t.Errorf("tail = %q, want %q", got, want)
	}
	if bar.count != 3 || bar.fetched != 1 {
		t.Errorf("count = %d, fetched = %d, want 3 and 1", bar.count, bar.fetched)
	}
}

// The release that users are told is the one that the tests can run on.
func TestTheOldestReleaseIsTheOneThatIsClaimed(t *testing.T) {
	root, err := checkout.Root()
	if err != nil {
		t.Fatal(err)
	}
	const release = OldestRelease
	oldest, err := APIServer(release)
	if err != nil {
		t.Fatal(err)
	}
	version := strings.TrimPrefix(oldest.Name, "kube-apiserver ")
	for file, claim := range map[string]string{
		"README.md":              "Kubernetes " + release + " or newer",
		"docs/install/README.md": "Kubernetes " + release + " or newer",
		"docs/support.md":        "\n| " + release + " | API server | tested | `make test-apiservers`",
		"Makefile":               "\nAPISERVERS ?= " + release + " ",
		"config/manifests/bases/image-csi-operator.clusterserviceversion.yaml": "minKubeVersion: " + release + ".0\n",
		"bundle/manifests/image-csi-operator.clusterserviceversion.yaml":       "minKubeVersion: " + release + ".0\n",
		"hack/cluster/pins/" + oldest.pin + "/go.mod":                          "k8s.io/kubernetes v" + version + " ",
	} {
		text, err := os.ReadFile(filepath.Join(root, file))
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(text), claim) {
			t.Errorf("%s does not say %q", file, claim)
		}
	}
}
