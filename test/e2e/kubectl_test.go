package e2e

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/image-csi/image-csi-operator/test/internal/poll"
)

// execLimit bounds a command in a pod, whose stream may never end when its container does.
const execLimit = 30 * time.Second

// kubectl runs the cluster's kubectl and returns its output; what it says on failure is in the error.
func (s *suite) kubectl(ctx context.Context, input string, args ...string) (string, error) {
	return s.cluster.Kubectl(ctx, input, args...)
}

// must is kubectl for a test that cannot go on without the answer.
func (s *suite) must(t *testing.T, args ...string) string {
	t.Helper()
	return s.cluster.Must(t, args...)
}

func (s *suite) apply(t *testing.T, manifests ...string) {
	t.Helper()
	s.cluster.Apply(t, manifests...)
}

// waitReady waits for pods to be ready.
func (s *suite) waitReady(t *testing.T, pods ...string) {
	t.Helper()
	s.must(t, append([]string{"wait", "pod", "--for=condition=Ready", "--timeout=90s"}, pods...)...)
}

// deletePods deletes pods and waits until they are gone.
func (s *suite) deletePods(t *testing.T, pods ...string) {
	t.Helper()
	s.must(t, append([]string{"delete", "pod", "--wait", "--timeout=90s"}, pods...)...)
}

// refused applies a manifest that must be refused, and returns what the person at the keyboard reads.
func (s *suite) refused(t *testing.T, manifest string) string {
	t.Helper()
	_, err := s.kubectl(t.Context(), manifest, "apply", "-f", "-")
	if err == nil {
		t.Fatalf("the API server accepted\n%s", manifest)
	}
	return err.Error()
}

// exec runs a command in a pod.
func (s *suite) exec(t *testing.T, pod string, command ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), execLimit)
	defer cancel()
	return s.kubectl(ctx, "", append([]string{"exec", pod, "--"}, command...)...)
}

// run is exec for a test that cannot go on without the answer.
func (s *suite) run(t *testing.T, pod string, command ...string) string {
	t.Helper()
	out, err := s.exec(t, pod, command...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// endContainer ends a pod's container and waits for the next one.
func (s *suite) endContainer(t *testing.T, pod string) {
	t.Helper()
	restarts := []string{"get", "pod", pod, "-o", "jsonpath={.status.containerStatuses[0].restartCount} {.status.containerStatuses[0].ready}"}
	before := s.must(t, restarts...)
	_, _ = s.exec(t, pod, "sh", "-c", "kill 1") // the container may take the answer along
	poll.Until(t, "the next container of "+pod, soon, func() error {
		after, err := s.kubectl(t.Context(), "", restarts...)
		if err == nil && (after == before || !strings.HasSuffix(after, " true")) {
			err = fmt.Errorf("restarts and readiness are %q, and were %q", after, before)
		}
		return err
	})
}

// waitFor repeats a kubectl query until its answer is want.
func (s *suite) waitFor(t *testing.T, within time.Duration, want string, args ...string) {
	t.Helper()
	s.cluster.WaitFor(t, within, want, args...)
}
