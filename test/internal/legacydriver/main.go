// Command legacydriver plays the legacy driver, warm-metal's container image CSI driver, and the node-driver-registrar beside it, as far as
// a handover sees them: it takes their flags, mounts overlays of directories as that driver's containerd does, and at its end removes
// its sockets' names, even if those lead to another process's sockets.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	registerapi "k8s.io/kubelet/pkg/apis/pluginregistration/v1"
)

// layers is where the files are that every volume shows, whatever its image.
const layers = "/var/lib/kubelet/plugins/legacy-layers"

type flags struct {
	endpoint, node, runtime, name, content string
	csiAddress, registrationPath           string
}

func main() {
	var f flags
	flag.StringVar(&f.endpoint, "endpoint", "", "the CSI socket to serve")
	flag.StringVar(&f.node, "node", "", "the node's name")
	flag.StringVar(&f.runtime, "runtime-addr", "", "the container runtime, which is not asked")
	flag.StringVar(&f.name, "name", "container-image.csi.k8s.io", "the CSI driver's name")
	flag.StringVar(&f.content, "content", "", "what the file hello.txt of every volume holds")
	flag.StringVar(&f.csiAddress, "csi-address", "", "the CSI socket of the driver to register")
	flag.StringVar(&f.registrationPath, "kubelet-registration-path", "", "the CSI socket as the kubelet finds it")
	flag.Parse()
	if err := f.run(); err != nil {
		fmt.Fprintln(os.Stderr, "legacydriver:", err)
		os.Exit(1)
	}
}

func (f flags) run() error {
	server := grpc.NewServer()
	socket := strings.TrimPrefix(f.endpoint, "unix://")
	if f.registrationPath == "" {
		if err := writeLayers(f.content); err != nil {
			return err
		}
		d := &driver{name: f.name}
		csi.RegisterIdentityServer(server, d)
		csi.RegisterNodeServer(server, d)
	} else {
		name, err := nameAt(f.csiAddress)
		if err != nil {
			return err
		}
		socket = filepath.Join("/registration", name+"-reg.sock")
		registerapi.RegisterRegistrationServer(server, &registrar{name: name, endpoint: f.registrationPath})
	}
	if err := os.Remove(socket); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	listener, err := net.Listen("unix", socket)
	if err != nil {
		return err
	}
	ends := make(chan os.Signal, 1)
	signal.Notify(ends, syscall.SIGTERM)
	go func() {
		<-ends
		_ = os.Remove(socket)
		os.Exit(0)
	}()
	return server.Serve(listener)
}

// writeLayers makes two layers, since one would be a bind.
func writeLayers(content string) error {
	for layer, file := range map[string]string{"1": "a lower layer's\n", "2": content + "\n"} {
		dir := filepath.Join(layers, layer)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, "hello.txt"), []byte(file), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// nameAt asks a driver for its name, as the registrar does before it registers it.
func nameAt(socket string) (string, error) {
	conn, err := grpc.NewClient("unix://"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return "", err
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	info, err := csi.NewIdentityClient(conn).GetPluginInfo(ctx, &csi.GetPluginInfoRequest{}, grpc.WaitForReady(true))
	return info.GetName(), err
}

// registrar is node-driver-registrar.
type registrar struct {
	registerapi.UnimplementedRegistrationServer
	name, endpoint string
}

func (r *registrar) GetInfo(context.Context, *registerapi.InfoRequest) (*registerapi.PluginInfo, error) {
	return &registerapi.PluginInfo{Type: registerapi.CSIPlugin, Name: r.name, SupportedVersions: []string{"1.0.0"}, Endpoint: r.endpoint}, nil
}

func (r *registrar) NotifyRegistrationStatus(_ context.Context, status *registerapi.RegistrationStatus) (*registerapi.RegistrationStatusResponse, error) {
	if !status.GetPluginRegistered() {
		fmt.Fprintln(os.Stderr, "legacydriver: the kubelet refuses it:", status.GetError())
		os.Exit(1)
	}
	return &registerapi.RegistrationStatusResponse{}, nil
}

// driver mounts.
type driver struct {
	csi.UnimplementedIdentityServer
	csi.UnimplementedNodeServer
	name string
}

func (d *driver) GetPluginInfo(context.Context, *csi.GetPluginInfoRequest) (*csi.GetPluginInfoResponse, error) {
	return &csi.GetPluginInfoResponse{Name: d.name, VendorVersion: "v1.0.0"}, nil
}

func (d *driver) NodeGetInfo(context.Context, *csi.NodeGetInfoRequest) (*csi.NodeGetInfoResponse, error) {
	return &csi.NodeGetInfoResponse{NodeId: "legacy"}, nil
}

func (d *driver) NodeGetCapabilities(context.Context, *csi.NodeGetCapabilitiesRequest) (*csi.NodeGetCapabilitiesResponse, error) {
	return &csi.NodeGetCapabilitiesResponse{}, nil
}

func (d *driver) NodePublishVolume(_ context.Context, request *csi.NodePublishVolumeRequest) (*csi.NodePublishVolumeResponse, error) {
	target := request.GetTargetPath()
	if err := os.MkdirAll(target, 0o750); err != nil {
		return nil, err
	}
	options := fmt.Sprintf("lowerdir=%s/2:%s/1", layers, layers)
	if err := syscall.Mount("overlay", target, "overlay", syscall.MS_RDONLY, options); err != nil {
		return nil, fmt.Errorf("mount %s: %w", target, err)
	}
	return &csi.NodePublishVolumeResponse{}, nil
}

func (d *driver) NodeUnpublishVolume(_ context.Context, request *csi.NodeUnpublishVolumeRequest) (*csi.NodeUnpublishVolumeResponse, error) {
	target := request.GetTargetPath()
	if err := syscall.Unmount(target, 0); err != nil && !errors.Is(err, syscall.EINVAL) && !errors.Is(err, syscall.ENOENT) {
		return nil, fmt.Errorf("unmount %s: %w", target, err)
	}
	if err := os.Remove(target); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	return &csi.NodeUnpublishVolumeResponse{}, nil
}
