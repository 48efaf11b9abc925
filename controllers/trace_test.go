package controllers_test

import (
	"testing"

	. "github.com/onsi/gomega"
	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/image-csi/image-csi-operator/api/v1alpha1"
)

func TestAPhaseThatFailsSaysSoInItsSpan(t *testing.T) {
	c := newCluster(t)
	recorder := tracetest.NewSpanRecorder()
	c.tracer = sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(recorder)).Tracer("")
	c.start()
	c.node("one", "containerd://2.1.4")
	c.driver(driverName, func(d *v1alpha1.ImageCSIDriver) { // which no DaemonSet may have
		d.Spec.NodePlugin.Resources = &v1alpha1.Resources{ // An extended resource cannot be overcommitted.
			Requests: corev1.ResourceList{"example.com/gpu": resource.MustParse("1")},
			Limits:   corev1.ResourceList{"example.com/gpu": resource.MustParse("2")},
		}
	})
	failed := func() map[string]string {
		out := map[string]string{}
		for _, span := range recorder.Ended() {
			if span.Status().Code == codes.Error {
				out[span.Name()] = span.Status().Description
			}
		}
		return out
	}
	says := ContainSubstring("apply DaemonSet " + c.daemonSet("containerd").Name)
	c.Eventually(failed, soon).Should(And(HaveKeyWithValue("apply", says), HaveKeyWithValue("reconcile", says)))
	c.Expect(failed()).To(And(Not(HaveKey("read")), Not(HaveKey("label"))))
}

func TestEveryPhaseOfARemovalHasASpan(t *testing.T) {
	c := newCluster(t)
	recorder := tracetest.NewSpanRecorder()
	c.tracer = sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(recorder)).Tracer("")
	c.start()
	c.node("one", "containerd://2.1.4")
	c.driver(driverName)
	c.Eventually(c.exists(c.daemonSet("containerd")), soon).Should(BeTrue())
	c.deleteDriver(driverName)
	c.Eventually(c.exists(&v1alpha1.ImageCSIDriver{ObjectMeta: metav1.ObjectMeta{Name: driverName}}), soon).Should(BeFalse())
	c.Eventually(func() []string {
		var names []string
		for _, span := range recorder.Ended() {
			names = append(names, span.Name())
		}
		return names
	}, soon).Should(ContainElements("remove", "find users", "stop", "clean up", "unlabel", "release"))
}
