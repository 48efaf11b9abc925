package reading

import (
	"errors"
	"fmt"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/discovery"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/image-csi/image-csi-operator/api/v1alpha1"
)

// Reader reads one cluster.
type Reader struct {
	client client.Reader
	config *rest.Config
}

// Version returns the API server's version.
func (r *Reader) Version() (string, error) {
	asking, err := discovery.NewDiscoveryClientForConfig(r.config)
	if err != nil {
		return "", fmt.Errorf("prepare to ask %s: %w", r.config.Host, err)
	}
	info, err := asking.ServerVersion()
	if err != nil {
		return "", fmt.Errorf("ask for the API server's version: %w", err)
	}
	return info.GitVersion, nil
}

// New returns a reader of the cluster that a configuration leads to. It asks nothing yet.
func New(config *rest.Config) (*Reader, error) {
	scheme := runtime.NewScheme()
	if err := errors.Join(clientgoscheme.AddToScheme(scheme), v1alpha1.AddToScheme(scheme)); err != nil {
		return nil, fmt.Errorf("register API types: %w", err)
	}
	// More than client-go's five requests a second: a command reads a dozen kinds at once.
	config = rest.CopyConfig(config)
	config.QPS, config.Burst = 50, 100
	c, err := client.New(config, client.Options{Scheme: scheme})
	if err != nil {
		return nil, fmt.Errorf("prepare to read the cluster at %s: %w", config.Host, err)
	}
	return &Reader{c, config}, nil
}
