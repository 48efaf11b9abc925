package pull

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/image-csi/image-csi-operator/internal/contract"
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
			askers := 0
			for _, f := range p.flights {
				askers += f.askers
			}
			return askers == 2 && asked.Load() == int32(len(p.flights))
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

// policies are those of a node: the namespaces that have one, by what it is.
type policies map[string]string

func (p policies) Of(_ context.Context, namespace string) (string, error) {
	if p[namespace] == "?" {
		return "", errors.New("it cannot be seen")
	}
	return p[namespace], nil
}

func TestAnImageThatIsThereIsJudgedByItsNamespacesPolicy(t *testing.T) {
	for _, verify := range []contract.Verification{contract.NeverVerify, contract.NeverVerifyPreloadedImages, contract.AlwaysVerify} {
		cri := &fakeCRI{refuse: signedOnly, images: map[string]bool{image: true}}
		node := policies{"strict": "rejects", "hidden": "?", "signed": "accepts"}
		p := newPuller(t, cri, Config{Access: records(t), Verify: verify, Namespaced: true, Policies: node})
		in := func(namespace string, policy contract.PullPolicy, found bool) error {
			r := Request{Image: image, Namespace: namespace, Policy: policy}
			if found {
				r.Held, r.Digest = true, fakeDigest
			}
			return p.Ensure(within(t, 10*time.Second), r)
		}
		for _, found := range []bool{true, false} {
			if err := in("strict", contract.PullIfNotPresent, found); err == nil || kindOf(t, err) != Untrusted {
				t.Errorf("%s: a namespace has an image that its policy rejects: %v", verify, err)
			}
			if err := in("strict", contract.PullNever, found); err == nil || kindOf(t, err) != Unproven || !strings.Contains(err.Error(), "signature policy for namespace strict") {
				t.Errorf("%s: %v", verify, err)
			}
		}
		before := cri.pulls.Load()
		if err := in("lax", contract.PullIfNotPresent, true); err != nil || (verify != contract.AlwaysVerify && cri.pulls.Load() != before) {
			t.Errorf("%s: a namespace without a policy, after %d pulls: %v", verify, cri.pulls.Load()-before, err)
		}
		for _, namespace := range []string{"signed", "hidden"} {
			if err := in(namespace, contract.PullNever, true); err == nil {
				t.Errorf("%s: %s was not judged and has the image", verify, namespace)
			}
			before := cri.pulls.Load()
			for range 2 {
				if err := in(namespace, contract.PullIfNotPresent, true); err != nil {
					t.Errorf("%s, %s: %v", verify, namespace, err)
				}
			}
			if asked := cri.pulls.Load() - before; asked != 1 {
				t.Errorf("%s, %s: the runtime was asked %d times", verify, namespace, asked)
			}
		}
		node["signed"] = "another"
		if err := in("signed", contract.PullNever, true); err == nil {
			t.Errorf("%s: a policy that changed has judged nothing yet", verify)
		}
	}
}
