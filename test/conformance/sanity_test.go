package conformance

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"github.com/kubernetes-csi/csi-test/v5/pkg/sanity"
	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/ginkgo/v2/types"
	"github.com/onsi/gomega"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/image-csi/image-csi-operator/internal/contract"
	"github.com/image-csi/image-csi-operator/test/internal/nodes"
)

var suite = nodes.Suite{Name: "conformance", Nodes: nodes.EveryRuntime(), Layers: []int{2}, InTurn: true}

func TestMain(m *testing.M) { os.Exit(suite.Run(m)) }

// TestCSISanity runs the CSI sanity suite (github.com/kubernetes-csi/csi-test) on every runtime. Nothing may be skipped
// but what tests an RPC that the node plugin does not claim to have.
func TestCSISanity(t *testing.T) {
	var plugins []*nodes.Plugin
	for _, target := range suite.Targets(t) {
		p := nodes.Start(t, target, nodes.DriverName())
		plugins = append(plugins, p)
		config := config(p)
		ginkgo.Describe("on "+target.Name, func() { t.Cleanup(sanity.GinkgoTest(&config).Finalize) })
	}
	ginkgo.ReportAfterSuite("nothing is skipped without need", func(report ginkgo.Report) { checkSkips(t, report) })
	gomega.RegisterFailHandler(ginkgo.Fail)
	suiteConfig, reporterConfig := ginkgo.GinkgoConfiguration()
	suiteConfig.SkipStrings = []string{controllers}
	reporterConfig.NoColor = true
	if !ginkgo.RunSpecs(t, "CSI sanity", suiteConfig, reporterConfig) {
		t.Error("the suite failed")
	}
	for _, p := range plugins {
		if left := p.Mounts(t); len(left) != 0 {
			t.Errorf("%s: the suite left mounts: %q", p.Target.Name, left)
		}
	}
}

// controllers is in the names of the tests of controller services, which the node plugin does not have.
const controllers = "Controller "

// notClaimed are the reasons to skip the tests of the node RPCs that the node plugin does not claim.
var notClaimed = []string{
	"NodeStageVolume not supported",
	"NodeUnstageVolume not supported",
	"NodeExpandVolume not supported",
	"NodeGetStorageHealth not supported",
	"Service does not have single node multi writer capability",
}

// checkSkips wants a reason for each skipped test, and that not all were.
func checkSkips(t *testing.T, report ginkgo.Report) {
	passed := 0
	for _, spec := range report.SpecReports.WithLeafNodeType(types.NodeTypeIt) {
		switch {
		case spec.State == types.SpecStatePassed:
			passed++
		case spec.State == types.SpecStateSkipped && !slices.Contains(notClaimed, spec.Failure.Message) && !strings.Contains(spec.FullText(), controllers):
			t.Errorf("skipped: %s: %q", spec.FullText(), spec.Failure.Message)
		}
	}
	if passed == 0 {
		t.Error("no test passed")
	}
}

// config is where the suite finds the plugin. The paths are the node's: the plugin's, not this test's.
func config(p *nodes.Plugin) sanity.TestConfig {
	here := func(path string) string { return filepath.Join(p.Target.Root(), path) }
	pod := filepath.Join(nodes.KubeletRoot, "pods", "sanity-of-"+p.Driver)
	c := sanity.NewTestConfig()
	c.Address = "unix://" + here(filepath.Join(nodes.KubeletRoot, contract.PluginsDir, p.Driver, contract.SocketName))
	c.DialOptions = append(c.DialOptions, grpc.WithUnaryInterceptor(author))
	c.TargetPath = filepath.Join(pod, "volumes/kubernetes.io~csi")
	c.CreateTargetDir = func(path string) (string, error) { return path, os.MkdirAll(here(path), 0o750) }
	c.RemoveTargetPath = func(path string) error {
		// The directories of volumes are the kubelet's, and have to be empty by now.
		volumes, err := os.ReadDir(here(path))
		for _, volume := range volumes {
			err = errors.Join(err, os.Remove(here(filepath.Join(path, volume.Name()))))
		}
		return errors.Join(err, os.Remove(here(path)))
	}
	c.CheckPath = func(path string) (sanity.PathKind, error) {
		switch info, err := os.Lstat(here(targetOf(path))); {
		case errors.Is(err, fs.ErrNotExist):
			return sanity.PathIsNotFound, nil
		case err != nil:
			return "", err
		case info.IsDir():
			return sanity.PathIsDir, nil
		default:
			return sanity.PathIsOther, nil
		}
	}
	c.StagingPath = "" // there is no staging
	return c
}

// targetOf is the target of a volume, whose directory the suite takes for its target.
func targetOf(volume string) string { return filepath.Join(volume, "mount") }

// kubelet names targets as a kubelet does, in what the suite sends.
func kubelet(request any) any {
	switch request := request.(type) {
	case *csi.NodePublishVolumeRequest:
		if request.GetTargetPath() != "" {
			request = proto.CloneOf(request)
			request.TargetPath = targetOf(request.GetTargetPath())
		}
		return request
	case *csi.NodeUnpublishVolumeRequest:
		if request.GetTargetPath() != "" {
			request = proto.CloneOf(request)
			request.TargetPath = targetOf(request.GetTargetPath())
		}
		return request
	case *csi.NodeGetVolumeStatsRequest:
		if request.GetVolumePath() != "" {
			request = proto.CloneOf(request)
			request.VolumePath = targetOf(request.GetVolumePath())
		}
		return request
	default:
		return request
	}
}

// author stands in for the people who write volumes into pods: the suite publishes only what a controller has made, and
// the node plugin has none.
func author(ctx context.Context, method string, request, reply any, conn *grpc.ClientConn, invoke grpc.UnaryInvoker, options ...grpc.CallOption) error {
	request = kubelet(request)
	switch reply := reply.(type) {
	case *csi.ControllerGetCapabilitiesResponse, *csi.DeleteVolumeResponse:
		return nil
	case *csi.CreateVolumeResponse:
		reply.Volume = &csi.Volume{
			VolumeId:      request.(*csi.CreateVolumeRequest).GetName(),
			VolumeContext: map[string]string{contract.EphemeralAttribute: "true", contract.ImageAttribute: nodes.Numbered(2)},
		}
		return nil
	case *csi.GetPluginCapabilitiesResponse:
		if err := invoke(ctx, method, request, reply, conn, options...); err != nil {
			return err
		}
		reply.Capabilities = append(reply.Capabilities, &csi.PluginCapability{Type: &csi.PluginCapability_Service_{
			Service: &csi.PluginCapability_Service{Type: csi.PluginCapability_Service_CONTROLLER_SERVICE},
		}})
		return nil
	default:
		return invoke(ctx, method, request, reply, conn, options...)
	}
}
