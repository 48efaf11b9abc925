package signaturepolicy

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// node has a directory of policies, and a CRI-O that reports where it looks for them.
func node(t *testing.T, says string) (dir string, p *Policies) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "policies")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(t.TempDir(), "crio.sock")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/config" || says == "" {
			http.NotFound(w, r)
			return
		}
		fmt.Fprintln(w, strings.ReplaceAll(says, "DIR", dir))
	})}
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(func() { _ = server.Close() })
	return dir, Open(dir, "unix://"+socket)
}

const usual = "[crio]\n[crio.image]\nsignature_policy = \"\"\nsignature_policy_dir = \"DIR/\"\n"

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestANamespacesPolicyIsKnownByItsContent(t *testing.T) {
	dir, p := node(t, usual)
	of := func(namespace string) string {
		t.Helper()
		id, err := p.Of(t.Context(), namespace)
		if err != nil {
			t.Error(err)
		}
		return id
	}
	if of("strict") != "" || of("") != "" {
		t.Error("a node without policies has some")
	}
	write(t, filepath.Join(dir, "strict.json"), `{"default":[{"type":"reject"}]}`)
	rejecting := of("strict")
	if rejecting == "" || of("lax") != "" || of("strict") != rejecting {
		t.Error("the wrong namespaces have a policy")
	}
	write(t, filepath.Join(dir, "strict.json"), `{"default":[{"type":"insecureAcceptAnything"}]}`)
	if changed := of("strict"); changed == "" || changed == rejecting {
		t.Error("a policy that changed is taken for the same one")
	}
	if _, err := p.Of(t.Context(), ""); err == nil || !strings.Contains(err.Error(), "podInfoOnMount") {
		t.Error("a pod of an unknown namespace has no policy:", err)
	}
}

func TestWhatCannotBeToldIsNotAbsent(t *testing.T) {
	for name, change := range map[string]func(t *testing.T, dir string, p *Policies){
		"the directory is not seen":    func(_ *testing.T, _ string, p *Policies) { p.dir = "" },
		"there is no such directory":   func(_ *testing.T, _ string, p *Policies) { p.dir += "x" },
		"CRI-O looks in another place": func(t *testing.T, _ string, p *Policies) { p.dir = t.TempDir() },
		"the file is a link": func(t *testing.T, dir string, _ *Policies) {
			if err := os.Symlink("/nowhere", filepath.Join(dir, "ns.json")); err != nil {
				t.Fatal(err)
			}
		},
		"the file is a directory": func(t *testing.T, dir string, _ *Policies) {
			if err := os.Mkdir(filepath.Join(dir, "ns.json"), 0o755); err != nil {
				t.Fatal(err)
			}
		},
		"the file is huge": func(t *testing.T, dir string, _ *Policies) {
			write(t, filepath.Join(dir, "ns.json"), strings.Repeat(" ", maxBytes+1))
		},
	} {
		dir, p := node(t, usual)
		change(t, dir, p)
		if id, err := p.Of(t.Context(), "ns"); err == nil {
			t.Errorf("%s: %q", name, id)
		}
	}
	for _, says := range []string{"", "[crio", "[crio]\n"} {
		_, p := node(t, says)
		if id, err := p.Of(t.Context(), "ns"); err == nil || strings.Contains(err.Error(), "%!") {
			t.Errorf("CRI-O says %q: %q, %v", says, id, err)
		}
	}
	_, p := node(t, "[crio]\n[crio.image]\n") // a release without policies for namespaces
	if id, err := p.Of(t.Context(), "ns"); err != nil || id != "" {
		t.Error(id, err)
	}
}
