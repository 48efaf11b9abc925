package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"github.com/image-csi/image-csi-operator/internal/contract"
	"github.com/image-csi/image-csi-operator/internal/operator/render"
)

const (
	namespace         = "image-csi-system"
	operatorNamespace = "image-csi-operator"
	soon              = 20 * time.Second
)

// The whole installation as a user applies it, but for the manager's pod: that runs in this process, as the service
// account of the installation.
func TestTheInstallationRuns(t *testing.T) {
	if os.Getenv("KUBEBUILDER_ASSETS") == "" {
		if os.Getenv("CI") != "" {
			t.Fatal("KUBEBUILDER_ASSETS is not set; in CI the test against an API server must run")
		}
		t.Skip("KUBEBUILDER_ASSETS is not set: no API server to test against")
	}
	g := NewWithT(t)
	environment := &envtest.Environment{}
	// Before the start, which may fail when one of the two runs already.
	t.Cleanup(func() { g.Expect(environment.Stop()).To(Succeed()) })
	admin, err := environment.Start()
	g.Expect(err).NotTo(HaveOccurred())
	apply(t, environment, "-k", "../../config/default")
	cluster, err := client.New(admin, client.Options{})
	g.Expect(err).NotTo(HaveOccurred())

	t.Run("Pod Security admits the pods where they run", func(t *testing.T) { podSecurity(t, cluster) })
	var deployment appsv1.Deployment
	g.Expect(cluster.Get(t.Context(), client.ObjectKey{Namespace: operatorNamespace, Name: "image-csi-operator"}, &deployment)).To(Succeed())
	g.Expect(deployment.Spec.Template.Spec.Containers[0].Env).To(ContainElements(
		HaveField("Name", "RELATED_IMAGE_NODE_PLUGIN"), And(HaveField("Name", "NODE_PLUGIN_NAMESPACE"), HaveField("Value", namespace))))

	collector, endpoint := startCollector(t, spansOverHTTP)
	t.Setenv(endpointEnv, endpoint)
	t.Setenv("OTEL_BSP_SCHEDULE_DELAY", "100")
	asked, said := &reviews{}, logged()
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- run(ctx, counting(asOperator(admin), asked), options{
			settings:       render.Settings{Namespace: namespace, OperatorNamespace: operatorNamespace, NodePluginImage: "example.com/plugin:v1"},
			metricsAddress: metricsAddress, metricsSecure: true, healthAddress: "127.0.0.1:18081", leaderElect: true,
			spans: spansOverHTTP,
		})
	}()
	for _, address := range []string{"127.0.0.1:18081/healthz", "127.0.0.1:18081/readyz"} {
		g.Eventually(get(address), soon).Should(Equal(http.StatusOK), address)
	}
	apply(t, environment, "-f", "../../config/samples/storage_v1alpha1_imagecsidriver_full.yaml", "--dry-run=server")
	apply(t, environment, "-k", "../../config/samples")
	g.Eventually(func() error {
		return cluster.Get(ctx, client.ObjectKey{Name: contract.DefaultDriverName}, &storagev1.CSIDriver{})
	}, soon).Should(Succeed())
	unservable(t, cluster)
	t.Run("every phase of a reconcile has a span", func(t *testing.T) { traced(t, collector) })

	t.Run("who may read the metrics reads them", func(t *testing.T) { guarded(t, cluster, asked) })
	t.Run("a claim that cannot be served is warned of once", func(t *testing.T) { toldOnce(t, said) })

	stop()
	g.Eventually(done, soon).Should(Receive(BeNil()))
	t.Run("the log has one form", func(t *testing.T) { wellFormed(t, said) })
	var lease coordinationv1.Lease
	g.Expect(cluster.Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: "image-csi-operator"}, &lease)).To(Succeed())
	g.Expect(*lease.Spec.HolderIdentity).To(BeEmpty(), "the lease is released when the manager ends")
}

func apply(t *testing.T, environment *envtest.Environment, args ...string) {
	t.Helper()
	installer, err := environment.AddUser(envtest.User{Name: "installer", Groups: []string{"system:masters"}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	kubectl, err := installer.Kubectl()
	if err != nil {
		t.Fatal(err)
	}
	_, stderr, err := kubectl.Run(append([]string{"apply"}, args...)...)
	if err != nil {
		text := make([]byte, 4096)
		count, _ := stderr.Read(text)
		t.Fatalf("kubectl apply %q: %v: %s", args, err, text[:count])
	}
}

func asOperator(admin *rest.Config) *rest.Config {
	config := rest.CopyConfig(admin)
	config.Impersonate.UserName = "system:serviceaccount:" + operatorNamespace + ":image-csi-operator"
	return config
}

func get(address string) func() (int, error) {
	return func() (int, error) {
		answer, err := http.Get("http://" + address)
		if err != nil {
			return 0, err
		}
		return answer.StatusCode, answer.Body.Close()
	}
}

// traced wants a driver's reconcile among what comes.
func traced(t *testing.T, collector *collector) {
	g := NewWithT(t)
	g.Eventually(collector.trees, soon).Should(ContainElement(map[string]string{
		"reconcile": "", "read": "reconcile", "finalizer": "reconcile", "label": "reconcile", "rollout": "reconcile", "apply": "reconcile",
		"replace": "reconcile", "untaint": "reconcile", "probe sandboxes": "reconcile", "report": "reconcile",
	}))
	g.Expect(collector.service()).To(Equal("image-csi-operator"))
	for _, span := range collector.spans() {
		if span.GetName() == "reconcile" {
			g.Expect(fmt.Sprint(span.GetAttributes())).To(And(ContainSubstring(contract.DefaultDriverName), ContainSubstring("imagecsi.reconcile_id")))
		}
	}
}
