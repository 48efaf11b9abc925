package installation

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"github.com/image-csi/image-csi-operator/api/v1alpha1"
)

// Namespace is that of the node plugins, and of the operator's lease.
const Namespace = "image-csi-system"

// operatorNamespace is that of the operator's Deployment and service account.
const operatorNamespace = "image-csi-operator"

// nodePluginImage is the node plugins', with which the operator's program is started.
const nodePluginImage = "example.com/plugin:v1"

// operator is the identity that the installation gives the operator.
const operator = "system:serviceaccount:" + operatorNamespace + ":image-csi-operator"

// Server is an API server with the operator's installation.
type Server struct {
	// Client is the administrator's.
	client.Client
	// Kubeconfig is a file with the operator's identity.
	Kubeconfig string

	environment *envtest.Environment
}

// Start starts an API server and installs the operator from the project's root. What it writes goes into dir. It needs
// KUBEBUILDER_ASSETS.
func Start(ctx context.Context, root, dir string) (*Server, error) {
	if os.Getenv("KUBEBUILDER_ASSETS") == "" {
		return nil, errors.New("no API server to run the operator on: set KUBEBUILDER_ASSETS")
	}
	dir, err := os.MkdirTemp(dir, "server-")
	if err != nil {
		return nil, err
	}
	s := &Server{environment: &envtest.Environment{}, Kubeconfig: filepath.Join(dir, "kubeconfig")}
	plane := &s.environment.ControlPlane
	plane.APIServer = &envtest.APIServer{CertDir: filepath.Join(dir, "kube-apiserver")}
	plane.Etcd = &envtest.Etcd{DataDir: filepath.Join(dir, "etcd")}
	if err := errors.Join(os.MkdirAll(plane.APIServer.CertDir, 0o700), os.MkdirAll(plane.Etcd.DataDir, 0o700)); err != nil {
		return nil, err
	}
	admin, err := s.environment.Start()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start etcd and kube-apiserver: %w", err), s.Stop())
	}
	scheme := runtime.NewScheme()
	if err := errors.Join(clientgoscheme.AddToScheme(scheme), v1alpha1.AddToScheme(scheme)); err != nil {
		return nil, errors.Join(err, s.Stop())
	}
	if s.Client, err = client.New(admin, client.Options{Scheme: scheme}); err != nil {
		return nil, errors.Join(err, s.Stop())
	}
	if err := s.install(ctx, root); err != nil {
		return nil, errors.Join(err, s.Stop())
	}
	return s, nil
}

// Stop ends the API server for good.
func (s *Server) Stop() error { return s.environment.Stop() }

// GoDown ends etcd and the API server, and keeps what they know.
func (s *Server) GoDown() error {
	return errors.Join(s.environment.ControlPlane.APIServer.Stop(), s.environment.ControlPlane.Etcd.Stop())
}

// ComeUp starts them again, at the same address.
func (s *Server) ComeUp() error {
	if err := s.environment.ControlPlane.Etcd.Start(); err != nil {
		return fmt.Errorf("start etcd again: %w", err)
	}
	if err := s.environment.ControlPlane.APIServer.Start(); err != nil {
		return fmt.Errorf("start kube-apiserver again: %w", err)
	}
	return nil
}

// install applies what a user applies, and takes the Deployment away again: the operator's program runs here.
func (s *Server) install(ctx context.Context, root string) error {
	installer, err := s.environment.AddUser(envtest.User{Name: "installer", Groups: []string{"system:masters"}}, nil)
	if err != nil {
		return err
	}
	kubectl, err := installer.Kubectl()
	if err != nil {
		return err
	}
	if _, stderr, err := kubectl.Run("apply", "-k", filepath.Join(root, "config", "default")); err != nil {
		text, _ := io.ReadAll(stderr)
		return fmt.Errorf("kubectl apply -k config/default: %w: %s", err, text)
	}
	plugins := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: Namespace}}
	annotation := `{"metadata": {"annotations": {"imagecsi.dev/node-plugin-image": "` + nodePluginImage + `"}}}`
	if err := s.Patch(ctx, plugins, client.RawPatch(types.MergePatchType, []byte(annotation))); err != nil {
		return err
	}
	deployment := &appsv1.Deployment{}
	deployment.Namespace, deployment.Name = operatorNamespace, "image-csi-operator"
	if err := s.Delete(ctx, deployment); err != nil {
		return err
	}
	identity, err := s.environment.AddUser(envtest.User{Name: operator,
		Groups: []string{"system:serviceaccounts", "system:serviceaccounts:" + operatorNamespace}}, nil)
	if err != nil {
		return err
	}
	kubeconfig, err := identity.KubeConfig()
	if err != nil {
		return err
	}
	return os.WriteFile(s.Kubeconfig, kubeconfig, 0o600)
}
