package cluster

import (
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/image-csi/image-csi-operator/hack/cluster/internal/cgroup"
	"github.com/image-csi/image-csi-operator/hack/cluster/internal/registry"
	"github.com/image-csi/image-csi-operator/hack/cluster/internal/supervise"
)

// controlPlaneConfig is what the control plane's process has to do.
type controlPlaneConfig struct {
	// ControlGroup is the group to run in; empty for the caller's.
	ControlGroup string `json:"controlGroup,omitempty"`
	RegistryDir  string `json:"registryDir"`
	// RegistryAddress is where to serve the registry besides the inherited socket; empty for nowhere.
	RegistryAddress string `json:"registryAddress,omitempty"`
	// Forward is where connections to the second inherited socket go; empty if there is none.
	Forward string             `json:"forward,omitempty"`
	Daemons []supervise.Daemon `json:"daemons"`
}

// The inherited sockets. They listen on the machine's 127.0.0.1 though the process is in another network namespace: a socket
// stays in the one it was opened in.
const (
	registryFD = 3 + iota
	apiServerFD
)

// runControlPlane is the main function of the control plane's process.
func runControlPlane() error {
	var c controlPlaneConfig
	if err := readConfig(&c); err != nil {
		return err
	}
	if c.ControlGroup != "" {
		groups, err := cgroup.Detect()
		if err != nil {
			return err
		}
		if err := groups.Join(c.ControlGroup); err != nil {
			return err
		}
	}
	images, err := registry.Open(c.RegistryDir)
	if err != nil {
		return fmt.Errorf("open the registry: %w", err)
	}
	onHost, err := inheritedListener(registryFD)
	if err != nil {
		return err
	}
	listeners := []net.Listener{onHost}
	if c.RegistryAddress != "" {
		inside, err := net.Listen("tcp", c.RegistryAddress)
		if err != nil {
			return fmt.Errorf("serve the registry: %w", err)
		}
		listeners = append(listeners, inside)
	}
	server := &http.Server{Handler: images, ReadHeaderTimeout: time.Minute}
	for _, l := range listeners {
		go func() { log.Fatal(server.Serve(l)) }() //nolint:forbidigo // a process of its own: without the registry it ends
	}
	if c.Forward != "" {
		l, err := inheritedListener(apiServerFD)
		if err != nil {
			return err
		}
		go forward(l, c.Forward)
	}
	supervise.Run(c.Daemons)
	return nil
}

func inheritedListener(fd uintptr) (net.Listener, error) {
	file := os.NewFile(fd, "listener")
	defer file.Close()
	l, err := net.FileListener(file)
	if err != nil {
		return nil, fmt.Errorf("use inherited socket %d: %w", fd, err)
	}
	return l, nil
}

// forward passes each connection on to the address.
func forward(from net.Listener, to string) {
	for {
		client, err := from.Accept()
		if err != nil {
			log.Fatalf("forward to %s: %v", to, err) //nolint:forbidigo // a process of its own
		}
		go func() {
			defer client.Close()
			server, err := net.Dial("tcp", to)
			if err != nil {
				return // the client sees the connection close and tries again
			}
			defer server.Close()
			go copyAndClose(server, client)
			copyAndClose(client, server)
		}()
	}
}

// copyAndClose copies until one side ends, then tells the other that nothing more will come.
func copyAndClose(to, from net.Conn) {
	_, _ = io.Copy(to, from)
	if half, ok := to.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite()
	}
}
