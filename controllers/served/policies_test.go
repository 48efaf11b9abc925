package served

import (
	"context"
	"errors"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	testclock "k8s.io/utils/clock/testing"

	"github.com/image-csi/image-csi-operator/internal/operator/status"
)

// askedServer answers what it serves.
type askedServer struct {
	discovery.ServerResourcesInterfaceWithContext

	err   error
	asked int
}

func (s *askedServer) ServerResourcesForGroupVersionWithContext(context.Context, string) (*metav1.APIResourceList, error) {
	s.asked++
	return &metav1.APIResourceList{}, s.err
}

func TestAServerThatDoesNotAnswerIsNotOneWithoutPolicies(t *testing.T) {
	now := testclock.NewFakePassiveClock(time.Unix(1000, 0))
	server := &askedServer{}
	policies := &Policies{watcher: watcher{discovery: server, clock: now}}
	gone := apierrors.NewNotFound(schema.GroupResource{}, "admissionregistration.k8s.io/v1")
	for _, step := range []struct {
		name    string
		after   time.Duration
		err     error
		state   status.PoliciesState
		pending time.Duration
		asked   int
	}{
		{"no answer", 0, errors.New("away"), status.PoliciesPending, firstWait, 1},
		{"no answer again", 10 * time.Second, errors.New("away"), status.PoliciesPending, 10 * time.Second, 2},
		{"no answer for long", time.Hour, errors.New("away"), status.PoliciesUnreadable, longestWait, 3},
		{"no such version", 0, gone, status.PoliciesNotServed, 0, 4},
		{"a moment later", time.Second, gone, status.PoliciesNotServed, 0, 4},
		{"later", askAgainAfter, gone, status.PoliciesNotServed, 0, 5},
		{"no such resource", askAgainAfter, nil, status.PoliciesNotServed, 0, 6},
		{"no answer after one", askAgainAfter, errors.New("away"), status.PoliciesUnreadable, longestWait, 7},
	} {
		server.err = step.err
		now.SetTime(now.Now().Add(step.after))
		seen, pending := policies.Look(t.Context())
		if seen.State != step.state || pending != step.pending || server.asked != step.asked {
			t.Errorf("%s: %q, look again after %s, asked %d times; want %q, %s and %d", step.name, seen.State, pending, server.asked, step.state, step.pending, step.asked)
		}
	}
}
