package registration

import (
	"context"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	registerapi "k8s.io/kubelet/pkg/apis/pluginregistration/v1"
)

// kubeletSide dials a registration socket as the kubelet does.
func kubeletSide(t *testing.T, socket string) registerapi.RegistrationClient {
	t.Helper()
	conn, err := grpc.NewClient("unix://"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return registerapi.NewRegistrationClient(conn)
}

func TestEveryNameIsRegisteredOnItsOwnSocket(t *testing.T) {
	dir := t.TempDir()
	drivers := []Driver{{"a.example", "/plugins/a.example/csi.sock"}, {"b.example", "/plugins/b.example/csi.sock"}}
	r := New(drivers, slog.New(slog.DiscardHandler))
	if err := r.Start(dir); err != nil {
		t.Fatal(err)
	}
	if err := r.Ready(t.Context()); err == nil || !strings.Contains(err.Error(), "has not registered driver a.example yet") {
		t.Errorf("before the kubelet came: %v", err)
	}
	for _, d := range drivers {
		client := kubeletSide(t, filepath.Join(dir, d.Name+"-reg.sock"))
		info, err := client.GetInfo(t.Context(), &registerapi.InfoRequest{})
		if err != nil {
			t.Fatal(err)
		}
		if info.GetType() != registerapi.CSIPlugin || info.GetName() != d.Name || info.GetEndpoint() != d.Endpoint ||
			len(info.GetSupportedVersions()) != 1 || !strings.HasPrefix(info.GetSupportedVersions()[0], "1.") {
			t.Errorf("info %v", info)
		}
		if _, err := client.NotifyRegistrationStatus(t.Context(), &registerapi.RegistrationStatus{PluginRegistered: true}); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.Ready(t.Context()); err != nil {
		t.Errorf("after registration: %v", err)
	}

	r.Stop()
	if left, _ := os.ReadDir(dir); len(left) != 0 {
		t.Errorf("sockets are left: %v", left)
	}
}

func TestARefusalIsToldInTheKubeletsWords(t *testing.T) {
	dir := t.TempDir()
	r := New([]Driver{{"a.example", "/csi.sock"}}, slog.New(slog.DiscardHandler))
	if err := r.Start(dir); err != nil {
		t.Fatal(err)
	}
	defer r.Stop()
	client := kubeletSide(t, filepath.Join(dir, "a.example-reg.sock"))
	notify := func(s *registerapi.RegistrationStatus) {
		if _, err := client.NotifyRegistrationStatus(t.Context(), s); err != nil {
			t.Fatal(err)
		}
	}
	notify(&registerapi.RegistrationStatus{Error: "topology value collision"})
	if err := r.Ready(t.Context()); err == nil || !strings.Contains(err.Error(), "topology value collision") {
		t.Errorf("got %v", err)
	}
	notify(&registerapi.RegistrationStatus{PluginRegistered: true})
	if err := r.Ready(t.Context()); err != nil {
		t.Errorf("after the kubelet's next try: %v", err)
	}
}

func TestListen(t *testing.T) {
	dir := t.TempDir()

	stale := filepath.Join(dir, "stale.sock")
	old, err := net.Listen("unix", stale)
	if err != nil {
		t.Fatal(err)
	}
	old.(*net.UnixListener).SetUnlinkOnClose(false)
	_ = old.Close()
	listener, err := Listen(stale)
	if err != nil {
		t.Fatalf("a stale socket stands in the way: %v", err)
	}
	defer listener.Close()
	if info, err := os.Stat(stale); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}

	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("data"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Listen(file); err == nil {
		t.Error("a file was replaced by a socket")
	}
	if _, err := Listen(filepath.Join(dir, strings.Repeat("x", maxSocketPath))); err == nil || !strings.Contains(err.Error(), "shorter") {
		t.Errorf("long path: %v", err)
	}
}

func TestAPanicInARegistrationIsAnErrorOfThatCall(t *testing.T) {
	r := New(nil, slog.New(slog.DiscardHandler))
	_, err := r.recovered(t.Context(), nil, &grpc.UnaryServerInfo{}, func(context.Context, any) (any, error) { panic("oh no") })
	if err == nil || strings.Contains(err.Error(), "oh no") {
		t.Errorf("got %v", err)
	}
}
