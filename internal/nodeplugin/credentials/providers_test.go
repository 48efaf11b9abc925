package credentials

import (
	"encoding/base64"
	"encoding/json"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/image-csi/image-csi-operator/internal/contract"
	"github.com/image-csi/image-csi-operator/internal/credentialprovider/api"
)

// providersContainer answers in place of the container that runs the providers.
func providersContainer(t *testing.T, answer http.HandlerFunc) *Providers {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "s")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: answer}
	var serving sync.WaitGroup
	serving.Go(func() { _ = server.Serve(listener) })
	t.Cleanup(func() {
		_ = server.Close()
		serving.Wait()
	})
	return NewProviders(socket)
}

// token is what the kubelet hands over for a service account.
func token(claims string) string {
	return "h." + base64.RawURLEncoding.EncodeToString([]byte(claims)) + ".s"
}

const accountClaims = `{"aud":["a"],"kubernetes.io":{"namespace":"ns","serviceaccount":{"name":"app","uid":"1"},"pod":{"name":"p","uid":"2"}}}`

func secretsWith(tokens map[string]string, user map[string]string) map[string]string {
	entries := map[string]map[string]string{}
	for audience, token := range tokens {
		entries[audience] = map[string]string{"token": token, "expirationTimestamp": "2030-01-01T00:00:00Z"}
	}
	encoded, _ := json.Marshal(entries)
	secrets := map[string]string{contract.TokensSecret: string(encoded)}
	for key, value := range user {
		secrets[key] = value
	}
	return secrets
}

func TestTokensAreTakenOutOfTheSecrets(t *testing.T) {
	secrets := secretsWith(map[string]string{"a": token(accountClaims), "b": ""}, secretFor("r.example"))
	tokens, rest, err := SplitTokens(secrets)
	if err != nil || len(tokens) != 1 || tokens.account() != "ns/app/1" || len(rest) != 1 || rest[dockerConfigJSONKey] == "" {
		t.Errorf("got %v and %v (%v)", tokens, rest, err)
	}
	if len(secrets) != 2 {
		t.Error("the request was changed")
	}
	_, rest, err = SplitTokens(secretsWith(map[string]string{"a": token(accountClaims)}, nil))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := FromSecret(rest); err != nil {
		t.Errorf("tokens alone are taken for a secret: %v", err)
	}
	for _, bad := range []string{"hunter2", `{"a":{"token":["hunter2"]}}`, `{"a":{"token":"` + strings.Repeat("hunter2", maxTokensBytes/7) + `"}}`} {
		if _, _, err := SplitTokens(map[string]string{contract.TokensSecret: bad}); err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("got %v", err)
		}
	}
}

func TestTokensThatNameNoAccountAreAccountsOfTheirOwn(t *testing.T) {
	seen := map[string]bool{"ns/app/1": true, "": true}
	for _, text := range []string{"opaque", "a.b.c", token("{}"), token(`{"kubernetes.io":{"namespace":"ns","serviceaccount":{"name":"app"}}}`)} {
		account := Tokens{"a": text}.account()
		if seen[account] || strings.Contains(account, text) {
			t.Errorf("%s belongs to %q", text, account)
		}
		seen[account] = true
	}
	if account := (Tokens{}).account(); account != "" {
		t.Errorf("no token belongs to %q", account)
	}
}

func TestProvidersAreAskedForTheImageWithTheTokens(t *testing.T) {
	var asked api.Question
	p := providersContainer(t, func(w http.ResponseWriter, r *http.Request) {
		if err := json.NewDecoder(r.Body).Decode(&asked); err != nil || r.URL.Path != api.Path {
			t.Errorf("asked %s (%v)", r.URL, err)
		}
		_ = json.NewEncoder(w).Encode(api.Answer{Auths: []api.Auth{{Username: "u", Password: "p"}}, Problems: []string{"one failed", "two failed"}})
	})
	provided := p.For(named(t, "busybox:1"), Tokens{"a": token(accountClaims)})
	auths, err := provided.Ask(t.Context())
	if provided.To != "ns/app/1" || asked.Image != "docker.io/library/busybox" || asked.ServiceAccount != "ns/app/1" || asked.Tokens["a"] == "" {
		t.Errorf("asked %+v for %q", asked, provided.To)
	}
	if len(auths) != 1 || auths[0].GetUsername() != "u" || auths[0].GetPassword() != "p" || err == nil || err.Error() != "one failed; two failed" {
		t.Errorf("got %v, %v", auths, err)
	}
}

func TestProvidersThatDoNotAnswerAreExplained(t *testing.T) {
	const hidden = "hunter2"
	for name, tt := range map[string]struct {
		answer http.HandlerFunc
		want   string
	}{
		"error":    {func(w http.ResponseWriter, _ *http.Request) { http.Error(w, hidden, http.StatusTeapot) }, "418"},
		"nonsense": {func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(hidden)) }, "cannot be read"},
		"endless": {func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write([]byte(`{"problems":["` + strings.Repeat("x", api.MaxAnswerBytes) + `"]}`))
		}, "cannot be read"},
		"redirect": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://attacker.test", http.StatusTemporaryRedirect)
		}, "307"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := providersContainer(t, tt.answer).For(named(t, "r.example/app"), nil).Ask(t.Context())
			if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), hidden) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
	_, err := NewProviders("/nowhere/s").For(named(t, "r.example/app"), nil).Ask(t.Context())
	if err == nil || !strings.Contains(err.Error(), "the log of container credential-provider") {
		t.Errorf("got %v", err)
	}
	if NewProviders("").For(named(t, "r.example/app"), nil) != nil {
		t.Error("no socket is a provider")
	}
}

func FuzzSplitTokens(f *testing.F) {
	f.Add(`{"a":{"token":"` + token(accountClaims) + `"}}`)
	f.Add(`{"":{"token":"x.e30.y"}}`)
	f.Fuzz(func(t *testing.T, text string) {
		tokens, rest, err := SplitTokens(map[string]string{contract.TokensSecret: text})
		if err == nil && (len(rest) != 0 || (tokens.account() == "") != (len(tokens) == 0)) {
			t.Errorf("tokens %v of %q, rest %v", tokens, tokens.account(), rest)
		}
	})
}
