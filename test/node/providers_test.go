package node

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/image-csi/image-csi-operator/hack/cluster"
	"github.com/image-csi/image-csi-operator/hack/cluster/checkout"
	"github.com/image-csi/image-csi-operator/hack/cluster/gobuild"
	"github.com/image-csi/image-csi-operator/internal/contract"
	"github.com/image-csi/image-csi-operator/test/internal/nodes"
	"github.com/image-csi/image-csi-operator/test/internal/poll"
)

// providers is the container of credential providers, next to a node plugin: its program runs on the node as the user
// and with the rights of its container.
type providers struct {
	plugin *nodes.Plugin
	dir    string // on the node: socket, configuration, programs
	log    *os.File
}

const providerName = "test-provider"

func newProviders(t *testing.T, p *nodes.Plugin) *providers {
	t.Helper()
	s := &providers{plugin: p, dir: filepath.Join("/opt/providers", p.Driver)}
	for _, dir := range []string{"bin", "run"} {
		if err := os.MkdirAll(s.onNode(dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	p.Target.Run(t, "chown", "65532:65532", filepath.Join(s.dir, "run"))
	root, err := checkout.Root()
	if err != nil {
		t.Fatal(err)
	}
	if err := gobuild.Program(t.Context(), root, "./internal/credentialprovider/testdata/provider", s.onNode("bin", providerName)); err != nil {
		t.Fatal(err)
	}
	program, err := os.Open(suite.Binaries().CredentialProvider)
	if err != nil {
		t.Fatal(err)
	}
	defer program.Close()
	if err := nodes.WriteProgram(s.onNode("credential-provider"), program); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *providers) onNode(parts ...string) string {
	return filepath.Join(append([]string{s.plugin.Target.Root(), s.dir}, parts...)...)
}

func (s *providers) socket() string { return filepath.Join(s.dir, "run", "providers.sock") }

// configure has the provider do what its arguments say.
func (s *providers) configure(t *testing.T, arguments ...string) {
	t.Helper()
	encoded, err := json.Marshal(arguments)
	if err != nil {
		t.Fatal(err)
	}
	config := fmt.Sprintf(`{"apiVersion": "kubelet.config.k8s.io/v1", "kind": "CredentialProviderConfig", "providers": [{
		"name": %q, "matchImages": [%q], "defaultCacheDuration": "0s", "apiVersion": "credentialprovider.kubelet.k8s.io/v1", "args": %s,
		"tokenAttributes": {"serviceAccountTokenAudience": "registry", "cacheType": "ServiceAccount", "requireServiceAccount": true}}]}`,
		providerName, suite.Registry(), encoded)
	if err := os.WriteFile(s.onNode("config.json"), []byte(config), 0o644); err != nil {
		t.Fatal(err)
	}
}

func (s *providers) start(t *testing.T) {
	t.Helper()
	log, err := os.CreateTemp(t.TempDir(), "providers-*.log")
	if err != nil {
		t.Fatal(err)
	}
	s.log = log
	ctx, cancel := context.WithCancel(context.Background())
	command := s.plugin.Target.Node.Command(ctx, "setpriv", "--reuid", "65532", "--regid", "65532", "--clear-groups",
		"--no-new-privs", "--bounding-set", "-all", "--inh-caps", "-all", filepath.Join(s.dir, "credential-provider"),
		"--"+contract.FlagProviderConfig+"="+filepath.Join(s.dir, "config.json"), "--"+contract.FlagProviderBinDir+"="+filepath.Join(s.dir, "bin"),
		"--"+contract.FlagProviderSocket+"="+s.socket(), "--"+contract.FlagLogLevel+"=debug")
	command.Stdout, command.Stderr = log, log
	if err := command.Start(); err != nil {
		cancel()
		t.Fatal(err)
	}
	t.Cleanup(func() {
		s.plugin.Target.Run(t, "sh", "-c", "for p in /proc/[0-9]*; do grep -qa ^"+filepath.Join(s.dir, "credential-provider")+" $p/cmdline && kill ${p#/proc/}; done; true")
		_ = command.Wait()
		cancel()
	})
	poll.Until(t, "the providers' container answers", 30*time.Second, func() error {
		_, err := os.Stat(filepath.Join(s.plugin.Target.Root(), s.socket()))
		return err
	})
}

func (s *providers) said(t *testing.T) string { return nodes.Read(t, s.log.Name()) }

// tokensOf is what the kubelet adds to the secrets of a volume, for a service account.
func tokensOf(account string) (secrets map[string]string, token string) {
	claims := fmt.Sprintf(`{"kubernetes.io":{"namespace":"default","serviceaccount":{"name":%q,"uid":"uid-of-%s"}}}`, account, account)
	token = "e30." + base64.RawURLEncoding.EncodeToString([]byte(claims)) + ".signature-of-" + account
	return map[string]string{contract.TokensSecret: fmt.Sprintf(`{"registry":{"token":%q,"expirationTimestamp":"2030-01-01T00:00:00Z"}}`, token)}, token
}

func TestCredentialProvidersOpenPrivateImagesToTheServiceAccountsThatTheyServe(t *testing.T) {
	suite.OnEveryNode(t, func(t *testing.T, p *nodes.Plugin) {
		s := newProviders(t, p)
		p.Stop(t, syscall.SIGTERM)
		p.Flags = []string{"--" + contract.FlagProviderSocket + "=" + s.socket()}
		p.Start(t)
		image := private(suite.Registry(), "alice", "provided")
		var tokens []string
		as := func(account string) nodes.Volume {
			secrets, token := tokensOf(account)
			tokens = append(tokens, token)
			return nodes.Volume{ID: account, Image: image, Inline: true, ReadOnly: true, Secrets: secrets}
		}
		answers := []error{refused(t, p, "nobody answers", as("early"), "the registry refuses", "the container of credential providers does not answer")}

		s.configure(t, fmt.Sprintf(`answer={"apiVersion":"credentialprovider.kubelet.k8s.io/v1","kind":"CredentialProviderResponse","cacheKeyType":"Image",
			"auth":{%q:{"username":"alice","password":%q},"attacker.test":{"username":"alice","password":"x"},"%s.attacker.test":{"username":"alice","password":"x"}}}`,
			suite.Registry(), cluster.RegistryPassword("alice"), suite.Registry()))
		s.start(t)
		path := p.MustPublish(t, as("served"))
		if got := nodes.Read(t, path, "top"); got != "1\n" {
			t.Errorf("/top holds %q", got)
		}

		s.configure(t, "complain=nothing for TOKEN", "exit=3")
		answers = append(answers, refused(t, p, "the provider fails", as("another"), "is on this node, but the registry does not give it to this volume",
			"credential provider "+providerName+": it ended with exit status 3"))
		if !strings.Contains(s.said(t), "nothing for [token]") {
			t.Errorf("the complaint is not in the log: %s", s.said(t))
		}
		p.Unpublish(t, "served")
		p.MustPublish(t, as("served")) // known: no provider is asked
		p.Unpublish(t, "served")

		withoutToken := as("plain")
		withoutToken.Secrets = nil
		answers = append(answers, refused(t, p, "no token", withoutToken, "it needs the pod's service account token"))
		public := nodes.Volume{ID: "public", Image: nodes.Numbered(1), Inline: true, ReadOnly: true}
		p.MustPublish(t, public)
		p.Unpublish(t, "public")

		keepsSecrets(t, p, answers...)
		for _, token := range append(tokens, cluster.RegistryPassword("alice")) {
			if strings.Contains(p.Said()+s.said(t)+fmt.Sprint(answers), token) {
				t.Error("a token or a password is told")
			}
		}
		p.Target.RemoveImage(t, image)
	})
}

func TestTheProvidersSocketIsClosedToOthers(t *testing.T) {
	suite.OnEveryNode(t, func(t *testing.T, p *nodes.Plugin) {
		s := newProviders(t, p)
		s.configure(t, "exit=1")
		s.start(t)
		out := p.Target.Run(t, "stat", "-c", "%a %u", s.socket())
		if strings.TrimSpace(out) != "600 65532" {
			t.Errorf("mode and owner of the socket: %s", out)
		}
	})
}
