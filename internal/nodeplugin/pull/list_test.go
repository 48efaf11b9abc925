package pull

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/image-csi/image-csi-operator/internal/liveview"
)

func TestTheListHasPullsUnderWayAndThoseThatWait(t *testing.T) {
	begun := make(chan struct{}, 2)
	cri := &fakeCRI{onPull: func(ctx context.Context, _ string, _ *runtimeapi.AuthConfig) error {
		begun <- struct{}{}
		<-ctx.Done()
		return ctx.Err()
	}}
	half := downloads(func(context.Context, string, time.Time) (done, total int64, err error) { return 1, 2, nil })
	p := newPuller(t, cri, Config{Downloads: half, MaxParallel: 1})
	if got := p.List(t.Context()); len(got) != 0 {
		t.Errorf("at first: %+v", got)
	}
	for i, pod := range []string{"ml/trainer-0", "ml/trainer-1"} {
		r := Request{Image: fmt.Sprintf("registry.example/app:%d", i), For: pod, Auths: []*runtimeapi.AuthConfig{{Username: "robot", Password: "s3cret"}}}
		go func() { _ = p.Ensure(t.Context(), r) }()
		for deadline := time.Now().Add(10 * time.Second); len(p.List(t.Context())) <= i; time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatal("the pull is not listed")
			}
		}
		if i == 0 {
			<-begun
		}
	}
	got := p.List(t.Context())
	if len(got) != 2 || got[0].State != liveview.PullRunning || *got[0].DoneBytes != 1 || *got[0].TotalBytes != 2 || got[0].Pod != "ml/trainer-0" || got[0].Waiting != 1 ||
		got[1].State != liveview.PullWaiting || got[1].TotalBytes != nil || got[1].Image != "registry.example/app:1" || got[0].ID >= got[1].ID {
		t.Errorf("%+v", got)
	}
	if text, _ := json.Marshal(got); strings.Contains(string(text), "robot") || strings.Contains(string(text), "s3cret") {
		t.Errorf("a credential is listed: %s", text)
	}
}
