package server

import (
	"context"
	"fmt"
	"log/slog"
	"regexp"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc"

	"github.com/image-csi/image-csi-operator/internal/contract"
	"github.com/image-csi/image-csi-operator/internal/nodeplugin/credentials"
	"github.com/image-csi/image-csi-operator/internal/nodeplugin/imagerules"
	"github.com/image-csi/image-csi-operator/internal/nodeplugin/volume"
	"github.com/image-csi/image-csi-operator/internal/nodeplugin/words"
)

// DefaultCallTimeout ends a call shortly before the kubelet does, which is after two minutes, so that the pod's events show
// an answer instead of a timeout.
const DefaultCallTimeout = 110 * time.Second

// Volumes does the work; *volume.Node is one.
type Volumes interface {
	Publish(ctx context.Context, r volume.Request) error
	Unpublish(ctx context.Context, volumeID, target string) error
	Stats(ctx context.Context, volumeID, target string) (volume.Stats, error)
	Health(ctx context.Context, volumeID, target string) (*volume.Problem, error)
}

// Config is what all names of one process share.
type Config struct {
	NodeID      string
	Version     string // vendor_version of GetPluginInfo
	KubeletRoot string
	Credentials credentials.Directory  // of the driver, tried after a volume's own; empty for none
	Providers   *credentials.Providers // tried after those; nil for none
	Images      imagerules.File        // the driver's rules for images; empty allows every image
	Policy      contract.PullPolicy    // of volumes that name none
	Access      contract.Access        // of pods to volumes; empty stands for contract.AccessReadWrite
	SizeLimits  SizeLimits
	MaxVolumes  int64 // max_volumes_per_node of NodeGetInfo; 0 leaves it to Kubernetes
	Volumes     Volumes
	Ready       func(ctx context.Context) error               // nil is always ready
	Observe     func(method, code string, took time.Duration) // nil observes nothing
	Outcome     func(method, code, target string)             // of calls that mount or unmount at a target; nil ignores them
	Logger      *slog.Logger                                  // nil is silence
	CallTimeout time.Duration                                 // 0 stands for DefaultCallTimeout
}

// New returns a gRPC server for one CSI driver name. The servers of a process differ only in their names.
func New(name string, c Config) *grpc.Server {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.CallTimeout <= 0 {
		c.CallTimeout = DefaultCallTimeout
	}
	c.Logger = c.Logger.With("driver", name)
	server := grpc.NewServer(grpc.ChainUnaryInterceptor(
		observe(c), // outermost, to see the final answer
		recovered(c.Logger),
		limited(c.CallTimeout),
	))
	csi.RegisterIdentityServer(server, &identity{name: name, version: c.Version, ready: c.Ready})
	csi.RegisterNodeServer(server, &node{
		nodeID:     c.NodeID,
		maxVolumes: c.MaxVolumes,
		volumes:    c.Volumes,
		requests:   requests{kubeletRoot: c.KubeletRoot, policy: c.Policy, access: c.Access, limits: c.SizeLimits, shared: c.Credentials, providers: c.Providers, images: c.Images, log: c.Logger},
	})
	return server
}

var driverName = regexp.MustCompile(`^[a-zA-Z0-9]([-a-zA-Z0-9.]{0,61}[a-zA-Z0-9])?$`)

// ValidateName returns an error for a name that no CSI driver may have (CSI spec, GetPluginInfo: at most 63 characters in the
// form of a domain name).
func ValidateName(name string) error {
	if !driverName.MatchString(name) {
		return fmt.Errorf("driver name %q must have 1 to 63 letters, digits, \"-\" and \".\", and start and end with a "+
			"letter or digit", words.Shorten(name, 80))
	}
	return nil
}
