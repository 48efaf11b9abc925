// Command manager is the image-csi-operator: it reconciles ImageCSIDriver objects.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"time"

	"go.opentelemetry.io/otel/trace"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	controllerconfig "sigs.k8s.io/controller-runtime/pkg/config"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/image-csi/image-csi-operator/api/v1alpha1"
	"github.com/image-csi/image-csi-operator/controllers"
	"github.com/image-csi/image-csi-operator/controllers/cached"
	"github.com/image-csi/image-csi-operator/controllers/operatorcondition"
	"github.com/image-csi/image-csi-operator/controllers/provisioning"
)

// batchPeriod is how long changes of nodes and pods are collected, so that many nodes that start together cost one
// look at the cluster and one status write a second.
const batchPeriod = time.Second

// longestReconcile is more than a reconcile of the largest cluster takes, with all its writes. It bounds how long a request
// that is never answered blocks the only worker.
const longestReconcile = 5 * time.Minute

// version is set by the linker.
var version = "dev"

func main() {
	options, err := parse(flag.CommandLine, os.Args[1:], os.Getenv)
	if err != nil {
		fmt.Fprintln(os.Stderr, "manager:", err)
		os.Exit(2)
	}
	config, err := ctrl.GetConfig()
	if err != nil {
		fmt.Fprintln(os.Stderr, "manager: find the cluster; in a pod this needs its service account, elsewhere a kubeconfig:", err)
		os.Exit(2)
	}
	logTo(os.Stderr, options.logLevel)
	ctrl.Log.Info("The operator starts", "version", version, "namespace", options.settings.OperatorNamespace,
		"nodePluginNamespace", options.settings.Namespace, "nodePluginImage", options.settings.NodePluginImage)
	if err := run(ctrl.SetupSignalHandler(), config, options); err != nil {
		ctrl.Log.Error(err, "The operator ends")
		os.Exit(1)
	}
}

// run serves until the context ends.
func run(ctx context.Context, config *rest.Config, options options) error {
	scheme := runtime.NewScheme()
	if err := errors.Join(clientgoscheme.AddToScheme(scheme), v1alpha1.AddToScheme(scheme)); err != nil {
		return fmt.Errorf("register API types: %w", err)
	}
	tracers, flush, err := startTracing(ctx, options.spans, ctrl.Log.WithName("tracing"))
	if err != nil {
		return err
	}
	defer flush()
	objects := cached.Options(options.settings.Namespace)
	mgr, err := ctrl.NewManager(config, ctrl.Options{
		Scheme:                 scheme,
		MapperProvider:         cached.Mapper(scheme, objects),
		Cache:                  objects,
		Controller:             controllerconfig.Controller{ReconciliationTimeout: longestReconcile},
		Metrics:                metricsOptions(options),
		HealthProbeBindAddress: options.healthAddress,
		LeaderElection:         options.leaderElect,
		LeaderElectionID:       "image-csi-operator",
		// Beside what it protects: so two operators of the same node plugins exclude each other, wherever they run.
		LeaderElectionNamespace:       options.settings.Namespace,
		LeaderElectionReleaseOnCancel: true,
	})
	if err != nil {
		return fmt.Errorf("set up the manager: %w", err)
	}
	if err := wire(mgr, options, tracers); err != nil {
		return err
	}
	return mgr.Start(ctx)
}

func wire(mgr ctrl.Manager, options options, tracers trace.TracerProvider) error {
	reconciler := &controllers.ImageCSIDriverReconciler{
		Client:      mgr.GetClient(),
		Direct:      mgr.GetAPIReader(),
		Recorder:    mgr.GetEventRecorder("image-csi-operator"),
		Clock:       clock.RealClock{},
		Settings:    options.settings,
		Tracer:      tracers.Tracer("github.com/image-csi/image-csi-operator/controllers"),
		BatchPeriod: batchPeriod,
	}
	if err := reconciler.SetupWithManager(mgr); err != nil {
		return fmt.Errorf("set up the ImageCSIDriver controller: %w", err)
	}
	if err := metrics.Registry.Register(controllers.NewStatusMetrics(mgr.GetCache())); err != nil {
		return fmt.Errorf("register metrics: %w", err)
	}
	kube, err := kubernetes.NewForConfigAndClient(mgr.GetConfig(), mgr.GetHTTPClient())
	if err != nil {
		return fmt.Errorf("set up a client for provisioning: %w", err)
	}
	provisioning := &provisioning.Reconciler{Client: mgr.GetClient(), Direct: mgr.GetAPIReader(), Kube: kube}
	if err := provisioning.SetupWithManager(mgr); err != nil {
		return fmt.Errorf("set up the provisioning controller: %w", err)
	}
	if options.condition != "" {
		condition := &operatorcondition.Reconciler{Client: mgr.GetClient(), Direct: mgr.GetAPIReader(), Clock: clock.RealClock{},
			Object: types.NamespacedName{Namespace: options.settings.OperatorNamespace, Name: options.condition}}
		if err := condition.SetupWithManager(mgr); err != nil {
			return fmt.Errorf("set up the controller of OperatorCondition %s: %w", condition.Object, err)
		}
	}
	return errors.Join(mgr.AddHealthzCheck("ping", healthz.Ping), mgr.AddReadyzCheck("ping", healthz.Ping))
}
