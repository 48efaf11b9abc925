package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"github.com/image-csi/image-csi-operator/api/v1alpha1"
)

const (
	namespace = "image-csi-system"
	operator  = "system:serviceaccount:" + namespace + ":image-csi-operator"
)

// server is an API server with the operator's installation. No controller runs there.
type server struct {
	// Client is the administrator's.
	client.Client
	environment *envtest.Environment
	// kubeconfig is a file with the operator's identity.
	kubeconfig string
}

func startServer(ctx context.Context, dir string) (*server, error) {
	if os.Getenv("KUBEBUILDER_ASSETS") == "" {
		return nil, errors.New("no API server to measure with: set KUBEBUILDER_ASSETS, or run make scale")
	}
	s := &server{environment: &envtest.Environment{}, kubeconfig: filepath.Join(dir, "kubeconfig")}
	admin, err := s.environment.Start()
	if err != nil {
		return nil, fmt.Errorf("start etcd and kube-apiserver: %w", err)
	}
	scheme := runtime.NewScheme()
	if err := errors.Join(clientgoscheme.AddToScheme(scheme), v1alpha1.AddToScheme(scheme)); err != nil {
		return nil, errors.Join(err, s.stop())
	}
	if s.Client, err = client.New(admin, client.Options{Scheme: scheme}); err != nil {
		return nil, errors.Join(err, s.stop())
	}
	if err := s.install(ctx); err != nil {
		return nil, errors.Join(err, s.stop())
	}
	return s, nil
}

func (s *server) stop() error { return s.environment.Stop() }

// install applies what a user applies, and takes the Deployment away again: the operator runs here.
func (s *server) install(ctx context.Context) error {
	installer, err := s.environment.AddUser(envtest.User{Name: "installer", Groups: []string{"system:masters"}}, nil)
	if err != nil {
		return err
	}
	kubectl, err := installer.Kubectl()
	if err != nil {
		return err
	}
	if _, stderr, err := kubectl.Run("apply", "-k", filepath.Join("..", "config", "default")); err != nil {
		text, _ := io.ReadAll(stderr)
		return fmt.Errorf("kubectl apply -k config/default: %w: %s", err, text)
	}
	deployment := &appsv1.Deployment{}
	deployment.Namespace, deployment.Name = namespace, "image-csi-operator"
	if err := s.Delete(ctx, deployment); err != nil {
		return err
	}
	identity, err := s.environment.AddUser(envtest.User{Name: operator,
		Groups: []string{"system:serviceaccounts", "system:serviceaccounts:" + namespace}}, nil)
	if err != nil {
		return err
	}
	kubeconfig, err := identity.KubeConfig()
	if err != nil {
		return err
	}
	return os.WriteFile(s.kubeconfig, kubeconfig, 0o600)
}
