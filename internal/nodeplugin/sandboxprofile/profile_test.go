package sandboxprofile

import (
	"context"
	"errors"
	"io/fs"
	"runtime"
	"strings"
	"testing"

	"github.com/image-csi/image-csi-operator/internal/sandbox"
)

// node is a file system that may be full.
type node struct {
	files  map[string]string
	writes int
	full   error
}

func (n *node) ReadFile(_ context.Context, file string, _ int64) ([]byte, error) {
	content, is := n.files[file]
	if !is {
		return nil, fs.ErrNotExist
	}
	return []byte(content), nil
}

func (n *node) WriteFile(_ context.Context, file, draft string, content []byte) error {
	if draft != ".a.example.new" {
		return errors.New("the draft is " + draft)
	}
	if n.full == nil {
		n.files[file] = string(content)
		n.writes++
	}
	return n.full
}

func TestTheProfileIsPutOnTheNodeAndKeptThere(t *testing.T) {
	file, want := "/data/kubelet/seccomp/"+sandbox.Name(), string(sandbox.Profile(runtime.GOARCH))
	earlier := "/data/kubelet/seccomp/" + sandbox.Prefix + "earlier.json"
	n := &node{files: map[string]string{earlier: "x"}}
	p := New(n, "/data/kubelet", "a.example", sandbox.Name())
	for _, before := range []string{"", "cut", want} {
		if before != "" {
			n.files[file] = before
		}
		if err := p.Ready(t.Context()); err != nil || n.files[file] != want {
			t.Errorf("where %q was, there is %q: %v", before, n.files[file], err)
		}
	}
	if n.writes != 2 || n.files[earlier] != "x" || len(n.files) != 2 {
		t.Errorf("after %d writes the node has %v", n.writes, n.files)
	}
	delete(n.files, file)
	n.full = errors.New("no space left on device")
	if err := p.Ready(t.Context()); err == nil || !errors.Is(err, n.full) {
		t.Errorf("on a full node: %v", err)
	}
}

func TestAnotherReleasesProfileIsNotPromised(t *testing.T) {
	n := &node{files: map[string]string{}}
	err := New(n, "/data/kubelet", "a.example", sandbox.Prefix+"other.json").Ready(t.Context())
	if err == nil || !strings.Contains(err.Error(), "different releases") || n.writes != 0 {
		t.Errorf("%v, after %d writes", err, n.writes)
	}
}
