package main

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/image-csi/image-csi-operator/internal/contract"
	"github.com/image-csi/image-csi-operator/internal/nodeplugin/singleton"
)

func TestASecondProcessOfADriverIsAliveAndNotReadyUntilTheFirstHasEnded(t *testing.T) {
	o := defaults()
	o.nodeName, o.kubeletRoot, o.httpAddress = "node-1", t.TempDir(), freeAddress(t)
	if err := errors.Join(o.complete(), os.MkdirAll(o.pluginDir(), 0o750)); err != nil {
		t.Fatal(err)
	}
	dir := o.pluginDir()
	first, err := singleton.Acquire(t.Context(), filepath.Join(dir, lockFile), "pod first", func(string) {})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = first.Release() }()

	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		_, err := start(ctx, o, slog.New(slog.DiscardHandler))
		ended <- err
	}()
	var code int
	var said string
	for end := time.Now().Add(10 * time.Second); !strings.Contains(said, "pod first") && time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		code, said = get(o.httpAddress + contract.ReadinessPath)
	}
	if code != http.StatusServiceUnavailable || !strings.Contains(said, "waiting for the node plugin pod first") {
		t.Errorf("readiness: %d %q", code, said)
	}
	if code, said := get(o.httpAddress + contract.LivenessPath); code != http.StatusOK {
		t.Errorf("liveness: %d %q", code, said)
	}
	if found, err := os.ReadDir(dir); err != nil || len(found) != 1 {
		t.Errorf("it has begun to work: %v, %v", found, err)
	}
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("stopped while it waited: %v", err)
	}
}

func get(url string) (code int, body string) {
	answer, err := http.Get("http://" + url)
	if err != nil {
		return 0, err.Error()
	}
	defer answer.Body.Close()
	text, _ := io.ReadAll(answer.Body)
	return answer.StatusCode, string(text)
}

func freeAddress(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}
