// Package sanity runs the CSI sanity suite (github.com/kubernetes-csi/csi-test) against the CSI server. It has a
// directory of its own because the suite brings its own test runner.
package sanity

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"testing"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"github.com/kubernetes-csi/csi-test/v5/pkg/sanity"
	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/gomega"

	"github.com/image-csi/image-csi-operator/internal/contract"
	"github.com/image-csi/image-csi-operator/internal/nodeplugin/server"
	"github.com/image-csi/image-csi-operator/internal/nodeplugin/volume"
)

// directories are volumes that are only directories: the suite looks at what the server says, not at mounts.
type directories struct{}

func (directories) Publish(_ context.Context, r volume.Request) error {
	return os.MkdirAll(r.Target, 0o750)
}

func (directories) Unpublish(_ context.Context, _, target string) error {
	return os.RemoveAll(target)
}

func (directories) Stats(_ context.Context, _, target string) (volume.Stats, error) {
	if _, err := os.Stat(target); err != nil {
		return volume.Stats{}, volume.ErrNotPublished
	}
	return volume.Stats{}, nil
}

func (directories) Health(_ context.Context, _, target string) (*volume.Problem, error) {
	if _, err := os.Stat(target); err != nil {
		return nil, volume.ErrNotPublished
	}
	return nil, nil
}

// controller makes the volumes that the suite publishes. The node plugin has no controller: in a cluster, volumes are
// written by people.
type controller struct {
	csi.UnimplementedControllerServer
}

func (controller) ControllerGetCapabilities(context.Context, *csi.ControllerGetCapabilitiesRequest) (*csi.ControllerGetCapabilitiesResponse, error) {
	return &csi.ControllerGetCapabilitiesResponse{}, nil
}

func (controller) CreateVolume(_ context.Context, r *csi.CreateVolumeRequest) (*csi.CreateVolumeResponse, error) {
	return &csi.CreateVolumeResponse{Volume: &csi.Volume{
		VolumeId: r.GetName(),
		VolumeContext: map[string]string{
			contract.EphemeralAttribute: "true",
			contract.ImageAttribute:     "registry.example/app:1",
		},
	}}, nil
}

func (controller) DeleteVolume(context.Context, *csi.DeleteVolumeRequest) (*csi.DeleteVolumeResponse, error) {
	return &csi.DeleteVolumeResponse{}, nil
}

func TestSanity(t *testing.T) {
	root := t.TempDir()
	socket := filepath.Join(root, "csi.sock")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	s := server.New("driver.example", server.Config{NodeID: "node-1", Version: "v0", KubeletRoot: root, Volumes: directories{}})
	csi.RegisterControllerServer(s, controller{})
	go func() { _ = s.Serve(listener) }()
	defer s.Stop()

	pod := filepath.Join(root, "pods", "0d1e")
	if err := os.MkdirAll(pod, 0o750); err != nil {
		t.Fatal(err)
	}
	config := sanity.NewTestConfig()
	config.Address = "unix://" + socket
	config.TargetPath = filepath.Join(pod, "target")
	config.StagingPath = filepath.Join(pod, "staging")
	run(t, &config)
}

// run leaves out the tests of the controller, which is only a part of this test.
func run(t *testing.T, config *sanity.TestConfig) {
	t.Helper()
	suite := sanity.GinkgoTest(config)
	defer suite.Finalize()
	gomega.RegisterFailHandler(ginkgo.Fail)
	suiteConfig, reporterConfig := ginkgo.GinkgoConfiguration()
	suiteConfig.SkipStrings = []string{"Controller Service"}
	reporterConfig.NoColor = true
	if !ginkgo.RunSpecs(t, "CSI sanity", suiteConfig, reporterConfig) {
		t.Error("the suite failed")
	}
}
