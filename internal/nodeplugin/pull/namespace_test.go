package pull

import (
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// signedOnly is CRI-O's answer to pods of a namespace whose policy rejects every image.
func signedOnly(namespace string) error {
	if namespace == "strict" {
		return status.Error(codes.Unknown, "SignatureValidationFailed: Source image rejected: Running image docker://r.example/app:1 is rejected by policy.")
	}
	return nil
}

func TestTheRuntimesPolicyForANamespaceHolds(t *testing.T) {
	p := newPuller(t, &fakeCRI{refuse: signedOnly}, Config{Namespaced: true})
	err := p.Ensure(within(t, 10*time.Second), Request{Image: image, Namespace: "strict"})
	if kindOf(t, err) != Untrusted {
		t.Errorf("got %v", err)
	}
	if err := p.Ensure(within(t, 10*time.Second), Request{Image: image, Namespace: "lax"}); err != nil {
		t.Error(err)
	}
}

func TestNamespacesShareNoPullWhereTheRuntimeTellsThemApart(t *testing.T) {
	for _, namespaced := range []bool{true, false} {
		var asked atomic.Int32
		release := make(chan struct{})
		cri := &fakeCRI{refuse: func(string) error {
			asked.Add(1)
			<-release
			return nil
		}}
		p := newPuller(t, cri, Config{Namespaced: namespaced})
		ended := make(chan error)
		for _, namespace := range []string{"one", "two"} {
			go func() { ended <- p.Ensure(within(t, 10*time.Second), Request{Image: image, Namespace: namespace}) }()
		}
		eventually(t, func() bool {
			p.mu.Lock()
			defer p.mu.Unlock()
			return namespaced == (len(p.flights) == 2) && asked.Load() == int32(len(p.flights))
		})
		close(release)
		for range 2 {
			if err := <-ended; err != nil {
				t.Error(err)
			}
		}
		if want := map[bool]int32{true: 2, false: 1}[namespaced]; asked.Load() != want {
			t.Errorf("namespaced %t: %d pulls, want %d", namespaced, asked.Load(), want)
		}
	}
}
