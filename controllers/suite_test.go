package controllers_test

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-logr/logr"
	. "github.com/onsi/gomega"
	"go.opentelemetry.io/otel/trace"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/controller-runtime/pkg/config"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/image-csi/image-csi-operator/api/v1alpha1"
	"github.com/image-csi/image-csi-operator/controllers"
	"github.com/image-csi/image-csi-operator/controllers/cached"
	"github.com/image-csi/image-csi-operator/controllers/operatorcondition"
	"github.com/image-csi/image-csi-operator/controllers/provisioning"
	"github.com/image-csi/image-csi-operator/internal/contract"
	"github.com/image-csi/image-csi-operator/internal/operator/render"
)

// The namespaces of an installation: the node plugins' and the operator's.
const (
	namespace         = "image-csi-system"
	operatorNamespace = "image-csi-operator"
)

// leaseName is what operators that lead hold.
const leaseName = "image-csi-operator"

// longestReconcile is more than any test's takes.
const longestReconcile = 5 * time.Second

// apiServer is what an installation runs on: an API server with the definition, rights and policies that it brings.
type apiServer struct {
	// admin sees it as its administrator, operator with the operator's rights.
	admin, operator *rest.Config
}

// apiServers holds those that no test has at the moment. A test mostly waits, so two run at a time, each with a server by itself.
var apiServers = make(chan apiServer, 2)

func TestMain(m *testing.M) {
	os.Exit(runWithServers(m))
}

func runWithServers(m *testing.M) int {
	// Most of what is waited for is a request to the API server, and gomega's hundred in a second would be most of its work.
	SetDefaultEventuallyPollingInterval(30 * time.Millisecond)
	SetDefaultConsistentlyPollingInterval(100 * time.Millisecond)
	ctrl.SetLogger(logr.FromSlogHandler(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})))
	if os.Getenv("KUBEBUILDER_ASSETS") == "" {
		return m.Run() // Each test that needs a server says so.
	}
	rights := &usedRights{used: map[string]bool{}}
	for range cap(apiServers) {
		environment := &envtest.Environment{
			CRDDirectoryPaths:     []string{filepath.Join("..", "config", "crd", "bases")},
			ErrorIfCRDPathMissing: true,
		}
		// A start that failed may have started one of the two, or both.
		defer func() {
			if err := environment.Stop(); err != nil {
				fmt.Fprintln(os.Stderr, "stop etcd and kube-apiserver:", err)
			}
		}()
		server, err := startServer(environment, rights)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		apiServers <- server
	}
	if err := flag.Set("test.parallel", strconv.Itoa(cap(apiServers))); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	code := m.Run()
	if code == 0 {
		code = checkRights(rights)
	}
	return code
}

// startServer also notes which of its rights the operator uses.
func startServer(environment *envtest.Environment, rights *usedRights) (apiServer, error) {
	admin, err := environment.Start()
	if err != nil {
		return apiServer{}, fmt.Errorf("start etcd and kube-apiserver: %w", err)
	}
	operator, err := operatorIdentity(admin, filepath.Join("..", "config", "rbac"))
	if err != nil {
		return apiServer{}, fmt.Errorf("give the operator its rights: %w", err)
	}
	// make test-rules names copies that lack a rule.
	if err := admissionPolicies(admin, cmp.Or(os.Getenv("IMAGECSI_ADMISSION"), filepath.Join("..", "config", "admission"))); err != nil {
		return apiServer{}, fmt.Errorf("install the admission policies: %w", err)
	}
	if err := policiesKnowDrivers(operator); err != nil {
		return apiServer{}, fmt.Errorf("wait for the admission policies: %w", err)
	}
	operator.Wrap(func(next http.RoundTripper) http.RoundTripper {
		return &rightsTransport{next, rights}
	})
	return apiServer{admin: admin, operator: operator}, nil
}

// cluster is an API server and, once started, an operator; no other controller runs there, so tests play the kubelet,
// the DaemonSet controller and the garbage collector.
type cluster struct {
	*testing.T
	WithT
	client.Client
	ctx    context.Context
	server apiServer
	// writes counts what the operator sent to change something.
	writes *atomic.Int64
	// beforePatch is called before the operator sends a patch; set it before the operator starts.
	beforePatch func(client.Object)
	// tracer is the operator's; nil for none.
	tracer trace.Tracer
	// operatorCondition is what OLM names to the operator; empty for none.
	operatorCondition string
	// recheck is after what time the operator looks again whether volumes are in use; 0 is a moment.
	recheck time.Duration
	// leads has the operator take part in leader election.
	leads bool
	// metrics is how the operator serves its metrics; without an address it does not.
	metrics metricsserver.Options
	// faults are between the operator and the API server.
	faults *faultInjector
}

// newCluster waits for an API server that no other test has.
func newCluster(t *testing.T) *cluster {
	t.Helper()
	// Read here and not only in TestMain, so that Go's test cache knows that the outcome depends on it.
	if os.Getenv("KUBEBUILDER_ASSETS") == "" {
		if os.Getenv("CI") != "" {
			t.Fatal("KUBEBUILDER_ASSETS is not set; in CI the tests against an API server must run")
		}
		t.Skip("KUBEBUILDER_ASSETS is not set: no API server to test against")
	}
	t.Parallel()
	server := <-apiServers
	t.Cleanup(func() { apiServers <- server })
	scheme := runtime.NewScheme()
	c := &cluster{T: t, WithT: *NewWithT(t), ctx: t.Context(), server: server, writes: &atomic.Int64{}, faults: &faultInjector{}}
	c.Expect(clientgoscheme.AddToScheme(scheme)).To(Succeed())
	c.Expect(v1alpha1.AddToScheme(scheme)).To(Succeed())
	var err error
	c.Client, err = client.New(server.admin, client.Options{Scheme: scheme})
	c.Expect(err).NotTo(HaveOccurred())
	t.Cleanup(func() { c.wipe() })
	return c
}

// start runs an operator until the test ends.
func (c *cluster) start() *cluster {
	c.Helper()
	c.operate()
	return c
}

// operate runs an operator until it is told to stop, or the test ends.
func (c *cluster) operate() (stop func()) {
	c.Helper()
	rough := rest.CopyConfig(c.server.operator)
	rough.Wrap(c.faults.over)
	served := c.metrics
	served.BindAddress = cmp.Or(served.BindAddress, "0")
	mgr, err := ctrl.NewManager(rough, ctrl.Options{
		Scheme:         c.Scheme(),
		Cache:          cached.Options(namespace),
		LeaderElection: c.leads, LeaderElectionID: leaseName, LeaderElectionNamespace: namespace, LeaderElectionReleaseOnCancel: true,
		Metrics:    served,
		Controller: config.Controller{SkipNameValidation: ptr.To(true), ReconciliationTimeout: longestReconcile},
		NewClient: func(cfg *rest.Config, options client.Options) (client.Client, error) {
			plain, err := client.NewWithWatch(cfg, options)
			if err != nil {
				return nil, err
			}
			return interceptor.NewClient(plain, c.watchWrites()), nil
		},
	})
	c.Expect(err).NotTo(HaveOccurred())
	reconciler := &controllers.ImageCSIDriverReconciler{
		Client: mgr.GetClient(), Direct: mgr.GetAPIReader(), Recorder: mgr.GetEventRecorder("image-csi-operator"),
		Clock:  clock.RealClock{},
		Tracer: c.tracer, RecheckPeriod: cmp.Or(c.recheck, time.Second),
		Settings: render.Settings{Namespace: namespace, OperatorNamespace: operatorNamespace, NodePluginImage: ownImage},
	}
	c.Expect(reconciler.SetupWithManager(mgr)).To(Succeed())
	kube, err := kubernetes.NewForConfig(rough)
	c.Expect(err).NotTo(HaveOccurred())
	provisioning := &provisioning.Reconciler{Client: mgr.GetClient(), Direct: mgr.GetAPIReader(), Kube: kube}
	c.Expect(provisioning.SetupWithManager(mgr)).To(Succeed())
	if c.operatorCondition != "" {
		condition := &operatorcondition.Reconciler{Client: mgr.GetClient(), Direct: mgr.GetAPIReader(), Clock: clock.RealClock{},
			Object: types.NamespacedName{Namespace: operatorNamespace, Name: c.operatorCondition}}
		c.Expect(condition.SetupWithManager(mgr)).To(Succeed())
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- mgr.Start(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			c.Error("the operator ended with", err)
		}
	})
	c.Cleanup(stop)
	return stop
}

func (c *cluster) watchWrites() interceptor.Funcs {
	writes, beforePatch := c.writes, c.beforePatch
	return interceptor.Funcs{
		Patch: func(ctx context.Context, c client.WithWatch, o client.Object, p client.Patch, opts ...client.PatchOption) error {
			writes.Add(1)
			if beforePatch != nil {
				beforePatch(o)
			}
			return c.Patch(ctx, o, p, opts...)
		},
		Apply: func(ctx context.Context, c client.WithWatch, o runtime.ApplyConfiguration, opts ...client.ApplyOption) error {
			writes.Add(1)
			return c.Apply(ctx, o, opts...)
		},
		Delete: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.DeleteOption) error {
			writes.Add(1)
			return c.Delete(ctx, o, opts...)
		},
		SubResourcePatch: func(ctx context.Context, c client.Client, sub string, o client.Object, p client.Patch, opts ...client.SubResourcePatchOption) error {
			writes.Add(1)
			return c.SubResource(sub).Patch(ctx, o, p, opts...)
		},
	}
}

// wipeDrivers repeats until nothing is left: a write of the stopped operator may still be on its way.
func (c *cluster) wipeDrivers(ctx context.Context) {
	for ctx.Err() == nil {
		var drivers v1alpha1.ImageCSIDriverList
		if err := c.List(ctx, &drivers); err != nil {
			c.Error(err)
		}
		if len(drivers.Items) == 0 {
			return
		}
		for i := range drivers.Items {
			driver := &drivers.Items[i]
			_ = c.Delete(ctx, driver)
			_ = c.Patch(ctx, driver, mergePatch(`{"metadata": {"finalizers": null}}`))
		}
	}
	c.Error("drivers are left:", ctx.Err())
}

// wipe leaves the API server empty for the next test.
func (c *cluster) wipe() {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	c.wipeDrivers(ctx)
	here := client.InNamespace(namespace)
	for _, err := range []error{
		client.IgnoreNotFound(c.Delete(ctx, guardParts()["binding"])),
		client.IgnoreNotFound(c.Delete(ctx, guardParts()["policy"])),
		c.DeleteAllOf(ctx, &corev1.Node{}),
		c.DeleteAllOf(ctx, &storagev1.CSINode{}),
		c.DeleteAllOf(ctx, &storagev1.CSIDriver{}),
		c.DeleteAllOf(ctx, &corev1.PersistentVolumeClaim{}, client.InNamespace("default")),
		c.DeleteAllOf(ctx, &corev1.PersistentVolume{}),
		c.DeleteAllOf(ctx, &storagev1.StorageClass{}),
		c.DeleteAllOf(ctx, &appsv1.DaemonSet{}, here, client.PropagationPolicy("Background")),
		c.DeleteAllOf(ctx, &corev1.ServiceAccount{}, here, client.HasLabels{contract.DriverLabel}),
		c.DeleteAllOf(ctx, &corev1.ConfigMap{}, here, client.HasLabels{contract.DriverLabel}),
		c.DeleteAllOf(ctx, &corev1.Pod{}, here, client.GracePeriodSeconds(0)),
		c.DeleteAllOf(ctx, &corev1.Pod{}, client.InNamespace("default"), client.GracePeriodSeconds(0)),
	} {
		if err != nil {
			c.Error("clean up:", err)
		}
	}
}
