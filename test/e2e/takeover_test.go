package e2e

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc"
	registerapi "k8s.io/kubelet/pkg/apis/pluginregistration/v1"

	"github.com/image-csi/image-csi-operator/test/internal/poll"
)

// unknownClass wants a priority class that does not exist, so that no pod of a node plugin can be created.
const unknownClass = `
apiVersion: storage.imagecsi.dev/v1alpha1
kind: ImageCSIDriver
metadata: {name: ` + driver + `}
spec:
  nodePlugin: {priorityClassName: no-such-class}
  rollout: {minReadySeconds: 1, progressDeadlineSeconds: 5}
`

// podsCannotBeCreated makes a first installation fail, and wants the DaemonSet controller's own words in the status. The next
// step takes the priority class out. It costs some ten seconds, half of them the deadline.
func podsCannotBeCreated(t *testing.T, s *suite) {
	const reason = "no PriorityClass with name no-such-class was found"
	s.apply(t, unknownClass)
	for class, node := range nodes() {
		s.waitForStatus(t, fmt.Sprintf("{range .status.problems[?(@.node==%q)]}{.reason}: {.message}{end}", node),
			"NodePluginNotCreated", driver+"-"+class, reason)
	}
	s.waitForStatus(t, condition("Degraded"), "True", "NodePluginFailing", reason)
	s.waitForStatus(t, condition("Available"), "False")
	if pods := s.must(t, "-n", s.namespace, "get", "pods", "-l", "imagecsi.dev/driver="+driver, "-o", "name"); pods != "" {
		t.Errorf("there are pods: %s", pods)
	}
}

func condition(kind string) string {
	return fmt.Sprintf("{range .status.conditions[?(@.type==%q)]}{.status} {.reason}: {.message}{end}", kind)
}

// waitForStatus wants a part of the driver's status to hold every word.
func (s *suite) waitForStatus(t *testing.T, part string, words ...string) {
	t.Helper()
	poll.Until(t, fmt.Sprintf("%s says %q", part, words), soon, func() error {
		said, err := s.kubectl(t.Context(), "", "get", "imagecsidriver", driver, "-o", "jsonpath="+part)
		if err != nil {
			return err
		}
		for _, word := range words {
			if !strings.Contains(said, word) {
				return fmt.Errorf("%q does not hold %q", said, word)
			}
		}
		t.Log(said)
		return nil
	})
}

// legacyDriverIsReplaced installs the driver on nodes where a legacy driver is registered by the same name, and ends that one
// once the node plugins serve. It costs some five seconds more than an installation on nodes without one.
func legacyDriverIsReplaced(t *testing.T, s *suite) {
	legacy := map[string]*legacyDriver{}
	for _, node := range nodes() {
		legacy[node] = startLegacyDriver(t, filepath.Join(s.nodeRoot(t, node), "var/lib/kubelet"))
		s.waitFor(t, soon, legacyNodeID, s.nodeIDOn(node)...)
	}
	driverBecomesAvailable(t, s)
	s.waitForStatus(t, condition("Degraded"), "False")
	for _, node := range nodes() {
		s.waitFor(t, soon, node, s.nodeIDOn(node)...)
		before := s.registrations(t, node)
		sockets := legacy[node].terminate(t)
		poll.Until(t, "the kubelet of "+node+" registers the driver at new sockets", soon, func() error {
			for path, lost := range sockets {
				found, err := inodeOf(path)
				if err != nil {
					return err
				}
				if found == lost {
					return fmt.Errorf("%s is the socket that the legacy driver has removed", path)
				}
			}
			if s.registrations(t, node) == before {
				return errors.New("it does not")
			}
			return nil
		})
		s.waitFor(t, soon, node, s.nodeIDOn(node)...)
	}
}

// nodeIDOn asks for the ID by which a node's kubelet has registered the driver.
func (s *suite) nodeIDOn(node string) []string {
	return []string{"get", "csinode", node, "-o", fmt.Sprintf("jsonpath={.spec.drivers[?(@.name==%q)].nodeID}", driver)}
}

// registrations counts how often a node's kubelet has registered the driver.
func (s *suite) registrations(t *testing.T, node string) int {
	t.Helper()
	log, err := os.ReadFile(s.kubeletLog(t, node))
	if err != nil {
		t.Fatal(err)
	}
	return strings.Count(string(log), "Register new plugin with name: "+driver+" ")
}

// legacyNodeID distinguishes a legacy driver's registration from the node plugin's, whose ID is the node's name.
const legacyNodeID = "legacy"

// legacyDriver has a CSI socket and a registration socket where the node plugin has its own, and registers with the kubelet
// as node-driver-registrar does.
type legacyDriver struct {
	csi.UnimplementedIdentityServer
	csi.UnimplementedNodeServer
	registerapi.UnimplementedRegistrationServer

	csiSocket, registrationSocket string
	server                        *grpc.Server
}

func startLegacyDriver(t *testing.T, kubeletRoot string) *legacyDriver {
	t.Helper()
	l := &legacyDriver{
		csiSocket:          filepath.Join(kubeletRoot, "plugins", driver, "csi.sock"),
		registrationSocket: filepath.Join(kubeletRoot, "plugins_registry", driver+"-reg.sock"),
		server:             grpc.NewServer(),
	}
	csi.RegisterIdentityServer(l.server, l)
	csi.RegisterNodeServer(l.server, l)
	registerapi.RegisterRegistrationServer(l.server, l)
	t.Cleanup(l.server.Stop)
	if err := os.MkdirAll(filepath.Dir(l.csiSocket), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{l.csiSocket, l.registrationSocket} {
		listener, err := net.Listen("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		go func() { _ = l.server.Serve(listener) }()
	}
	return l
}

// terminate does what SIGTERM has the two containers do: they remove their sockets' names, even if those lead to another process's sockets.
// It returns which these were.
func (l *legacyDriver) terminate(t *testing.T) map[string]uint64 {
	t.Helper()
	lost := map[string]uint64{}
	for _, path := range []string{l.registrationSocket, l.csiSocket} {
		inode, err := inodeOf(path)
		if err != nil {
			t.Fatal(err)
		}
		lost[path] = inode
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
	l.server.Stop()
	return lost
}

// inodeOf is the number of what lies at a path.
func inodeOf(path string) (uint64, error) {
	var stat syscall.Stat_t
	if err := syscall.Lstat(path, &stat); err != nil {
		return 0, fmt.Errorf("look at %s: %w", path, err)
	}
	return stat.Ino, nil
}

// GetInfo returns where the kubelet finds the driver (k8s.io/kubelet/pkg/apis/pluginregistration/v1).
func (l *legacyDriver) GetInfo(context.Context, *registerapi.InfoRequest) (*registerapi.PluginInfo, error) {
	return &registerapi.PluginInfo{Type: registerapi.CSIPlugin, Name: driver, SupportedVersions: []string{"1.0.0"},
		Endpoint: filepath.Join("/var/lib/kubelet/plugins", driver, "csi.sock")}, nil
}

// NotifyRegistrationStatus ends node-driver-registrar when the kubelet refuses; the test waits for the CSINode instead.
func (l *legacyDriver) NotifyRegistrationStatus(context.Context, *registerapi.RegistrationStatus) (*registerapi.RegistrationStatusResponse, error) {
	return &registerapi.RegistrationStatusResponse{}, nil
}

// GetPluginInfo names the driver.
func (l *legacyDriver) GetPluginInfo(context.Context, *csi.GetPluginInfoRequest) (*csi.GetPluginInfoResponse, error) {
	return &csi.GetPluginInfoResponse{Name: driver, VendorVersion: "legacy"}, nil
}

// NodeGetInfo names the node.
func (l *legacyDriver) NodeGetInfo(context.Context, *csi.NodeGetInfoRequest) (*csi.NodeGetInfoResponse, error) {
	return &csi.NodeGetInfoResponse{NodeId: legacyNodeID}, nil
}

// NodeGetCapabilities has none.
func (l *legacyDriver) NodeGetCapabilities(context.Context, *csi.NodeGetCapabilitiesRequest) (*csi.NodeGetCapabilitiesResponse, error) {
	return &csi.NodeGetCapabilitiesResponse{}, nil
}
