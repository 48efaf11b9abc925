package credentialprovider

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/image-csi/image-csi-operator/internal/credentialprovider/api"
)

// serve returns a client of a server on a socket, and the server's log.
func serve(t *testing.T, n *node) (*http.Client, *bytes.Buffer) {
	t.Helper()
	socket := filepath.Join(n.dir, "s")
	listener, err := Listen(socket)
	if err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	server := NewServer(n.Providers, slog.New(slog.NewJSONHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})))
	var serving sync.WaitGroup
	serving.Go(func() { _ = server.Serve(listener) })
	t.Cleanup(func() {
		_ = server.Close()
		serving.Wait()
	})
	return &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}}}, &log
}

func post(t *testing.T, client *http.Client, path, body string) (int, string) {
	t.Helper()
	response, err := client.Post("http://x"+path, "application/json", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(text)
}

func TestTheServerAnswersQuestionsAndNothingElse(t *testing.T) {
	const token = "eyJ.secret.token"
	n := newNode(t, entry{name: "one", tokens: "serviceAccountTokenAudience: a, cacheType: Token, requireServiceAccount: true",
		args: []string{"answer=" + response("Image", auths("r.example"))}})
	client, log := serve(t, n)
	code, text := post(t, client, api.Path, `{"image":"r.example/app","tokens":{"a":"`+token+`"}}`)
	var a api.Answer
	if err := json.Unmarshal([]byte(text), &a); err != nil || code != http.StatusOK || len(a.Auths) != 1 || a.Auths[0].Password != "r.example" {
		t.Errorf("got %d %s", code, text)
	}
	for what, request := range map[string]struct {
		path, body string
		want       int
	}{
		"another path":        {"/v1/secrets", "{}", http.StatusNotFound},
		"no JSON":             {api.Path, token, http.StatusBadRequest},
		"an endless question": {api.Path, `{"image":"` + strings.Repeat("x", api.MaxQuestionBytes) + `"}`, http.StatusBadRequest},
	} {
		if code, text := post(t, client, request.path, request.body); code != request.want || strings.Contains(text, token) {
			t.Errorf("%s: got %d %s", what, code, text)
		}
	}
	if strings.Contains(log.String()+n.log.String(), token) || strings.Contains(log.String(), `"password"`) {
		t.Errorf("the log contains secrets: %s", log)
	}
}

func TestTheSocketIsForItsOwnerAndRoot(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	for range 2 { // the second takes the place of the first
		listener, err := Listen(path)
		if err != nil {
			t.Fatal(err)
		}
		defer listener.Close()
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v (%v), want 0600", info.Mode(), err)
	}
}

func TestAPeerOfAnotherUserIsTurnedAway(t *testing.T) {
	for uid, want := range map[uint32]bool{0: true, uint32(os.Getuid()): true, 12345: false} {
		if got := mayAsk(uid); got != want {
			t.Errorf("user %d may ask: %v", uid, got)
		}
	}
	server, client := net.Pipe()
	defer client.Close()
	if _, err := peer(server); err == nil {
		t.Error("a peer without a user has one")
	}
}
