package server

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/image-csi/image-csi-operator/internal/nodeplugin/hostmount"
	"github.com/image-csi/image-csi-operator/internal/nodeplugin/imagestore"
	"github.com/image-csi/image-csi-operator/internal/nodeplugin/pull"
	"github.com/image-csi/image-csi-operator/internal/nodeplugin/volume"
)

// volumes does what the test prescribes.
type volumes struct {
	publish   func(ctx context.Context, r volume.Request) error
	unpublish func(ctx context.Context, volumeID, target string) error
	stats     volume.Stats
	problem   *volume.Problem
	lookErr   error // of statistics and health
}

func (v volumes) Stats(context.Context, string, string) (volume.Stats, error) {
	return v.stats, v.lookErr
}

func (v volumes) Health(context.Context, string, string) (*volume.Problem, error) {
	return v.problem, v.lookErr
}

func (v volumes) Publish(ctx context.Context, r volume.Request) error {
	if v.publish == nil {
		return nil
	}
	return v.publish(ctx, r)
}

func (v volumes) Unpublish(ctx context.Context, volumeID, target string) error {
	if v.unpublish == nil {
		return nil
	}
	return v.unpublish(ctx, volumeID, target)
}

// lockedBuffer takes log lines of several goroutines.
type lockedBuffer struct {
	mu   sync.Mutex
	data bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.data.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.data.String()
}

// serve starts a server on a Unix socket and returns a connection to it, and its log.
func serve(t *testing.T, c Config) (*grpc.ClientConn, *lockedBuffer) {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "csi.sock")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	log := &lockedBuffer{}
	c.Logger = slog.New(slog.NewJSONHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	c.KubeletRoot = kubeletRoot
	if c.NodeID == "" {
		c.NodeID = "node-1"
	}
	server := New("driver.example", c)
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(server.Stop)
	conn, err := grpc.NewClient("unix://"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn, log
}

func TestIdentity(t *testing.T) {
	ready := errors.New("no runtime")
	conn, _ := serve(t, Config{Version: "v9", Volumes: volumes{}, Ready: func(context.Context) error { return ready }})
	client := csi.NewIdentityClient(conn)
	info, err := client.GetPluginInfo(t.Context(), &csi.GetPluginInfoRequest{})
	if err != nil || info.GetName() != "driver.example" || info.GetVendorVersion() != "v9" {
		t.Errorf("info %v, %v", info, err)
	}
	capabilities, err := client.GetPluginCapabilities(t.Context(), &csi.GetPluginCapabilitiesRequest{})
	if err != nil || len(capabilities.GetCapabilities()) != 0 {
		t.Errorf("capabilities %v, %v", capabilities, err)
	}
	for _, want := range []bool{false, true} {
		probe, err := client.Probe(t.Context(), &csi.ProbeRequest{})
		if err != nil || probe.GetReady().GetValue() != want {
			t.Errorf("probe %v, %v; want %v", probe, err, want)
		}
		ready = nil
	}
}

func TestNodeInfoTellsHowManyVolumesTheNodeTakesAndNoTopology(t *testing.T) {
	conn, _ := serve(t, Config{Volumes: volumes{}, MaxVolumes: 7})
	client := csi.NewNodeClient(conn)
	info, err := client.NodeGetInfo(t.Context(), &csi.NodeGetInfoRequest{})
	if err != nil || info.GetNodeId() != "node-1" || info.GetAccessibleTopology() != nil || info.GetMaxVolumesPerNode() != 7 {
		t.Errorf("info %v, %v", info, err)
	}
	if _, err := client.NodeStageVolume(t.Context(), &csi.NodeStageVolumeRequest{}); status.Code(err) != codes.Unimplemented {
		t.Errorf("staging: %v", err)
	}
}

func TestACallIsCountedAndLoggedWithoutItsSecrets(t *testing.T) {
	type call struct{ method, code string }
	var mu sync.Mutex
	var seen []call
	conn, log := serve(t, Config{
		Volumes: volumes{},
		Observe: func(method, code string, _ time.Duration) {
			mu.Lock()
			defer mu.Unlock()
			seen = append(seen, call{method, code})
		},
	})
	client := csi.NewNodeClient(conn)
	r := inline("csi.storage.k8s.io/pod.namespace", "ns", "csi.storage.k8s.io/pod.name", "p",
		"csi.storage.k8s.io/serviceAccount.tokens", "t0ken")
	r.Secrets = map[string]string{".dockerconfigjson": `{"auths":{"r.example":{"username":"u","password":"hunter2"}}}`}
	if _, err := client.NodePublishVolume(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	r.Secrets = map[string]string{".dockercfg": "hunter2"}
	if _, err := client.NodePublishVolume(t.Context(), r); status.Code(err) != codes.InvalidArgument {
		t.Fatal(err)
	}
	lines := log.String()
	for _, hidden := range []string{"hunter2", "t0ken", "dockerconfigjson\\\":"} {
		if strings.Contains(lines, hidden) {
			t.Errorf("%q is in the log:\n%s", hidden, lines)
		}
	}
	for _, want := range []string{`"pod":"ns/p"`, `"image":"r.example/app:1"`, `"volume":"csi-1"`, `"code":"OK"`} {
		if !strings.Contains(lines, want) {
			t.Errorf("%s is not in the log:\n%s", want, lines)
		}
	}
	mu.Lock()
	defer mu.Unlock()
	if len(seen) != 2 || seen[0] != (call{"NodePublishVolume", "OK"}) || seen[1] != (call{"NodePublishVolume", "InvalidArgument"}) {
		t.Errorf("seen %v", seen)
	}
}

func TestAPanicIsAnErrorOfOneCall(t *testing.T) {
	conn, log := serve(t, Config{Volumes: volumes{publish: func(context.Context, volume.Request) error { panic("boom") }}})
	client := csi.NewNodeClient(conn)
	_, err := client.NodePublishVolume(t.Context(), inline())
	if status.Code(err) != codes.Internal || strings.Contains(err.Error(), "boom") {
		t.Errorf("got %v", err)
	}
	if !strings.Contains(log.String(), "boom") {
		t.Error("the panic is not in the log")
	}
	if _, err := client.NodeGetInfo(t.Context(), &csi.NodeGetInfoRequest{}); err != nil {
		t.Errorf("the next call: %v", err)
	}
}

func TestEveryCallHasADeadline(t *testing.T) {
	conn, _ := serve(t, Config{CallTimeout: 50 * time.Millisecond, Volumes: volumes{
		publish: func(ctx context.Context, _ volume.Request) error {
			<-ctx.Done()
			return ctx.Err()
		},
	}})
	_, err := csi.NewNodeClient(conn).NodePublishVolume(t.Context(), inline())
	if status.Code(err) != codes.DeadlineExceeded {
		t.Errorf("got %v", err)
	}
}

func TestUnpublish(t *testing.T) {
	var got []string
	conn, _ := serve(t, Config{Volumes: volumes{unpublish: func(_ context.Context, id, target string) error {
		got = append(got, id, target)
		return nil
	}}})
	client := csi.NewNodeClient(conn)
	if _, err := client.NodeUnpublishVolume(t.Context(), &csi.NodeUnpublishVolumeRequest{VolumeId: "csi-1", TargetPath: somewhere}); err != nil {
		t.Fatal(err)
	}
	for _, bad := range []*csi.NodeUnpublishVolumeRequest{
		{}, {VolumeId: "csi-1"}, {TargetPath: somewhere}, {VolumeId: "csi-1", TargetPath: "/etc"},
		{VolumeId: "csi-1", TargetPath: kubeletRoot + "/plugins/driver/volumes"},
	} {
		if _, err := client.NodeUnpublishVolume(t.Context(), bad); status.Code(err) != codes.InvalidArgument {
			t.Errorf("%v: %v", bad, err)
		}
	}
	if strings.Join(got, " ") != "csi-1 "+somewhere {
		t.Errorf("unpublished %v", got)
	}
}

// away is an error as containerd's client makes them.
type away struct{ error }

func (away) Unavailable() {}

func TestErrorCodes(t *testing.T) {
	tests := []struct {
		err  error
		want codes.Code
	}{
		{imagestore.ErrNotFound, codes.NotFound},
		{imagestore.ErrUnsupported, codes.FailedPrecondition},
		{volume.ErrInProgress, codes.Aborted},
		{volume.ErrOtherAccess, codes.AlreadyExists},
		{volume.ErrImageChanged, codes.FailedPrecondition},
		{volume.ErrNotPublished, codes.NotFound},
		{volume.ErrNoLimit, codes.FailedPrecondition},
		{volume.ErrTooSmall, codes.FailedPrecondition},
		{hostmount.ErrBusy, codes.FailedPrecondition},
		{hostmount.ErrOccupied, codes.AlreadyExists},
		{hostmount.ErrTooManyLayers, codes.FailedPrecondition},
		{hostmount.ErrBadEROFS, codes.FailedPrecondition},
		{hostmount.ErrBadTarget, codes.InvalidArgument},
		{hostmount.ErrClosed, codes.Unavailable},
		{syscall.ENOSPC, codes.ResourceExhausted},
		{context.DeadlineExceeded, codes.DeadlineExceeded},
		{context.Canceled, codes.Canceled},
		{status.Error(codes.Unavailable, "containerd is away"), codes.Unavailable},
		{away{errors.New("containerd is away")}, codes.Unavailable},
		{errors.New("else"), codes.Internal},
		{syscall.EINVAL, codes.Internal},
		{syscall.EPERM, codes.Internal},
		{&pull.Error{Kind: pull.Defect}, codes.Internal},
	}
	for _, tt := range tests {
		got := toStatus(fmt.Errorf("image x:\n%w", tt.err))
		if status.Code(got) != tt.want || strings.Contains(got.Error(), "\n") {
			t.Errorf("%v: got %v, want %s", tt.err, got, tt.want)
		}
	}
	if long := toStatus(errors.New(strings.Repeat("x", 5000))); len(status.Convert(long).Message()) > maxMessage+4 {
		t.Error("a long message was not cut")
	}
}

// What a node's disks and memory cause, or files at a place where a volume should be, is no defect of the node plugin: the
// error says what to do, and does not make the node plugin unready.
func TestWhatTheNodeBringsAboutIsNotInternalAndComesWithAdvice(t *testing.T) {
	for errno, want := range map[syscall.Errno]struct {
		code  codes.Code
		words string
	}{
		syscall.EROFS:     {codes.FailedPrecondition, "read-only"},
		syscall.EIO:       {codes.Unavailable, "kernel's log"},
		syscall.EUCLEAN:   {codes.Unavailable, "kernel's log"},
		syscall.EBADMSG:   {codes.Unavailable, "kernel's log"},
		syscall.ENXIO:     {codes.Unavailable, "kernel's log"},
		syscall.ENODATA:   {codes.Unavailable, "kernel's log"},
		syscall.ESHUTDOWN: {codes.Unavailable, "kernel's log"},
		syscall.ESTALE:    {codes.Unavailable, "mount it again"},
		syscall.ENOTCONN:  {codes.Unavailable, "mount it again"},
		syscall.EHOSTDOWN: {codes.Unavailable, "mount it again"},
		syscall.ENETDOWN:  {codes.Unavailable, "mount it again"},
		syscall.ENODEV:    {codes.Unavailable, "kernel's log"},
		syscall.EAGAIN:    {codes.Unavailable, "short of memory"},
		syscall.EBUSY:     {codes.FailedPrecondition, "open file there"},
		syscall.ENOMEM:    {codes.ResourceExhausted, "memory"},
		syscall.EMFILE:    {codes.ResourceExhausted, "open files"},
		syscall.ENFILE:    {codes.ResourceExhausted, "open files"},
		syscall.ERANGE:    {codes.FailedPrecondition, "smaller sizeLimit"},
		syscall.EOVERFLOW: {codes.FailedPrecondition, "smaller sizeLimit"},
		syscall.ENOTEMPTY: {codes.FailedPrecondition, "the pod can end"},
		syscall.EDQUOT:    {codes.ResourceExhausted, ""},
	} {
		met := fmt.Errorf("setting up the volume: %w", &os.PathError{Op: "open", Path: strings.Repeat("x", 2000), Err: errno})
		got := status.Convert(toStatus(met))
		if got.Code() != want.code || !strings.Contains(got.Message(), want.words) || len(got.Message()) > maxMessage+4 {
			t.Errorf("%s: %d bytes, %v", errno, len(got.Message()), got)
		}
		// The same below a pull, whose records are on that disk.
		defect := &pull.Error{Kind: pull.Defect}
		if got := status.Code(toStatus(errors.Join(defect, met))); got != want.code {
			t.Errorf("%s under a pull: %s", errno, got)
		}
	}
}

func TestTheOutcomeOfACallIsToldWithItsTarget(t *testing.T) {
	type outcome struct{ method, code, target string }
	var mu sync.Mutex
	var seen []outcome
	conn, _ := serve(t, Config{
		Volumes: volumes{publish: func(context.Context, volume.Request) error { return errors.New("else") }},
		Outcome: func(method, code, target string) {
			mu.Lock()
			defer mu.Unlock()
			seen = append(seen, outcome{method, code, target})
		},
	})
	client := csi.NewNodeClient(conn)
	_, _ = client.NodePublishVolume(t.Context(), inline())
	_, _ = client.NodeUnpublishVolume(t.Context(), &csi.NodeUnpublishVolumeRequest{VolumeId: "csi-1", TargetPath: somewhere})
	_, _ = client.NodeGetInfo(t.Context(), &csi.NodeGetInfoRequest{})
	mu.Lock()
	defer mu.Unlock()
	want := []outcome{{"NodePublishVolume", "Internal", somewhere}, {"NodeUnpublishVolume", "OK", somewhere}}
	if !slices.Equal(seen, want) {
		t.Errorf("%v, want %v", seen, want)
	}
}
