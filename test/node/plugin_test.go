package node

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/image-csi/image-csi-operator/internal/contract"
	"github.com/image-csi/image-csi-operator/test/internal/poll"
)

const kubeletRoot = "/var/lib/kubelet"

// plugin is a node plugin that runs on one node of the suite.
type plugin struct {
	csi.NodeClient
	csi.IdentityClient

	target  *target
	driver  string
	flags   []string // beside those that start gives
	command *exec.Cmd
	log     *os.File
	conn    *grpc.ClientConn
}

// startPlugin starts the node plugin of the checkout on a node, under a driver name of the test's own, and waits for
// its socket.
func startPlugin(t *testing.T, target *target, driver string) *plugin {
	t.Helper()
	p := &plugin{target: target, driver: driver}
	p.start(t)
	t.Cleanup(func() { p.stop(t, syscall.SIGTERM) })
	return p
}

// credentialsDir is where the node holds the driver's own secrets; there are none until a test puts some there.
func (p *plugin) credentialsDir() string { return filepath.Join(contract.CredentialsPath, p.driver) }

func (p *plugin) start(t *testing.T) {
	t.Helper()
	for _, dir := range []string{"plugins/" + p.driver, "plugins_registry", "pods"} {
		if err := os.MkdirAll(filepath.Join(p.target.root(), kubeletRoot, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	log, err := os.CreateTemp(t.TempDir(), "node-plugin-*.log")
	if err != nil {
		t.Fatal(err)
	}
	args := append(p.target.launcher(), p.target.program,
		"--"+contract.FlagDriverName+"="+p.driver,
		"--"+contract.FlagNodeName+"="+p.target.name,
		"--"+contract.FlagRuntime+"="+p.target.runtime,
		"--"+contract.FlagRuntimeEndpoint+"="+p.target.endpoint,
		"--"+contract.FlagMountMode+"="+p.target.mode,
		"--"+contract.FlagKubeletRoot+"="+kubeletRoot,
		"--"+contract.FlagCredentialsDir+"="+p.credentialsDir(),
		"--"+contract.FlagHTTPAddress+"=127.0.0.1:0",
		"--"+contract.FlagLogLevel+"=debug",
	)
	args = append(args, p.flags...)
	p.command = p.target.node.Command(context.Background(), args[0], args[1:]...)
	p.command.Stdout, p.command.Stderr = log, log
	p.log = log
	if err := p.command.Start(); err != nil {
		t.Fatalf("start the node plugin on %s: %v", p.target.name, err)
	}
	p.dial(t)
}

// dial connects to the socket that the kubelet would find, by way of the node's root.
func (p *plugin) dial(t *testing.T) {
	t.Helper()
	socket := filepath.Join(p.target.root(), kubeletRoot, contract.PluginsDir, p.driver, contract.SocketName)
	conn, err := grpc.NewClient("unix:"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	p.conn = conn
	p.NodeClient, p.IdentityClient = csi.NewNodeClient(conn), csi.NewIdentityClient(conn)
	poll.Until(t, "the node plugin answers", 30*time.Second, func() error {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := p.GetPluginInfo(ctx, &csi.GetPluginInfoRequest{}); err != nil {
			return fmt.Errorf("%w; its log: %s", err, p.said())
		}
		return nil
	})
}

// stop ends the plugin with a signal and waits for it.
func (p *plugin) stop(t *testing.T, signal syscall.Signal) {
	t.Helper()
	if p.command == nil {
		return
	}
	p.signal(t, signal)
	err := p.command.Wait()
	if signal == syscall.SIGTERM && err != nil {
		t.Errorf("the node plugin ended with %v; its log: %s", err, p.said())
	}
	if t.Failed() {
		t.Logf("log of the node plugin on %s:\n%s", p.target.name, p.said())
	}
	p.command = nil
	if err := p.conn.Close(); err != nil {
		t.Error(err)
	}
}

func (p *plugin) said() string {
	content, err := os.ReadFile(p.log.Name())
	if err != nil {
		return err.Error()
	}
	return string(content)
}

// volume is a publish request in the words of a test.
type volume struct {
	id, image  string
	inline     bool
	readOnly   bool
	accessMode csi.VolumeCapability_AccessMode_Mode
	attributes map[string]string
	secrets    map[string]string
}

func (p *plugin) path(id string) string {
	return filepath.Join(kubeletRoot, "pods", "pod-"+id, "volumes/kubernetes.io~csi/image/mount")
}

func (v volume) request(target string) *csi.NodePublishVolumeRequest {
	mode := v.accessMode
	if mode == csi.VolumeCapability_AccessMode_UNKNOWN {
		mode = csi.VolumeCapability_AccessMode_SINGLE_NODE_WRITER
		if !v.inline {
			mode = csi.VolumeCapability_AccessMode_MULTI_NODE_READER_ONLY
		}
	}
	attributes := map[string]string{
		contract.PodNameAttribute: "pod-" + v.id, contract.PodNamespaceAttribute: "default", contract.PodUIDAttribute: "pod-" + v.id,
		contract.EphemeralAttribute: fmt.Sprint(v.inline),
	}
	if v.image != "" {
		attributes[contract.ImageAttribute] = v.image
	}
	for key, value := range v.attributes {
		attributes[key] = value
	}
	return &csi.NodePublishVolumeRequest{
		VolumeId: v.id, TargetPath: target, Readonly: v.readOnly, VolumeContext: attributes, Secrets: v.secrets,
		VolumeCapability: &csi.VolumeCapability{
			AccessType: &csi.VolumeCapability_Mount{Mount: &csi.VolumeCapability_MountVolume{}},
			AccessMode: &csi.VolumeCapability_AccessMode{Mode: mode},
		},
	}
}

// publish publishes a volume as the kubelet does (it makes the parent directory, and repeats while the answer is not
// final) and returns the tree's path as seen from the test.
func (p *plugin) publish(t *testing.T, v volume) (string, error) {
	t.Helper()
	target := p.path(v.id)
	if err := os.MkdirAll(filepath.Dir(filepath.Join(p.target.root(), target)), 0o755); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	_, err := p.NodePublishVolume(ctx, v.request(target))
	return filepath.Join(p.target.root(), target), err
}

func (p *plugin) mustPublish(t *testing.T, v volume) string {
	t.Helper()
	path, err := p.publish(t, v)
	if err != nil {
		t.Fatalf("publish %s: %v", v.image, err)
	}
	return path
}

// unpublish does what the kubelet does when the pod is gone, the pod's directory included.
func (p *plugin) unpublish(t *testing.T, id string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	target := p.path(id)
	if _, err := p.NodeUnpublishVolume(ctx, &csi.NodeUnpublishVolumeRequest{VolumeId: id, TargetPath: target}); err != nil {
		t.Fatalf("unpublish %s: %v", id, err)
	}
	path := filepath.Join(p.target.root(), target)
	if _, err := os.Lstat(path); !os.IsNotExist(err) {
		t.Errorf("the target %s is still there after unpublish (%v)", target, err)
	}
	if err := os.RemoveAll(filepath.Join(p.target.root(), kubeletRoot, "pods", "pod-"+id)); err != nil {
		t.Error(err)
	}
}

// mounts are the lines of the node's mount table that name the driver.
func (p *plugin) mounts(t *testing.T) []string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(p.target.root(), "proc/1/mountinfo"))
	if err != nil {
		t.Fatal(err)
	}
	var ours []string
	for line := range strings.Lines(string(content)) {
		if strings.Contains(line, "imagecsi:"+p.driver+"@") {
			ours = append(ours, line)
		}
	}
	return ours
}

func read(t *testing.T, path ...string) string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(path...))
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}
