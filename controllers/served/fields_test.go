package served

import (
	"context"
	"errors"
	"testing"
	"time"

	testclock "k8s.io/utils/clock/testing"

	"github.com/image-csi/image-csi-operator/internal/operator/render"
)

const (
	before135 = `{"components": {"schemas": {"io.k8s.api.storage.v1.CSIDriverSpec": {"properties": {"tokenRequests": {}}}}}}`
	since135  = `{"components": {"schemas": {"io.k8s.api.storage.v1.CSIDriverSpec": {"properties": {"tokenRequests": {}, "serviceAccountTokenInSecrets": {}}}}}}`
)

func TestAServerIsAskedOnceAndAgainOnlyIfItLackedAField(t *testing.T) {
	now := testclock.NewFakePassiveClock(time.Unix(1000, 0))
	answer, asked := "", 0
	var failure error
	served := &Fields{clock: now, document: func(context.Context, string) ([]byte, error) {
		asked++
		return []byte(answer), failure
	}}
	for _, step := range []struct {
		name    string
		answer  string
		failure error
		after   time.Duration
		refusal error
		lacks   int
		asked   int
	}{
		{"no answer", "", errors.New("away"), 0, nil, 0, 1},
		{"another document", `{"components": {}}`, nil, 0, nil, 0, 2},
		{"no document", `<html>`, nil, 0, nil, 0, 3},
		{"a server of 1.34", before135, nil, 0, nil, 1, 4},
		{"a moment later", since135, nil, time.Minute, nil, 1, 4},
		{"no answer later", "", errors.New("away"), askAgainAfter, nil, 1, 5},
		{"upgraded", since135, nil, time.Second, nil, 0, 6},
		{"much later", before135, nil, 24 * time.Hour, nil, 0, 6},
		{"another error", before135, nil, 0, errors.New("quota"), 0, 6},
		{"a server of the control plane is older", before135, nil, 0, errors.New(".spec.serviceAccountTokenInSecrets: field not declared in schema"), 1, 7},
	} {
		answer, failure = step.answer, step.failure
		now.SetTime(now.Now().Add(step.after))
		served.Forget(step.refusal)
		if got := served.Lacks(t.Context()); len(got) != step.lacks || asked != step.asked {
			t.Errorf("%s: lacks %v, asked %d times; want %d and %d", step.name, got, asked, step.lacks, step.asked)
		}
	}
	if served.Lacks(t.Context()).Has(render.TokensInSecrets()) != true {
		t.Error("the field is not named")
	}
}
