package pull

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/image-csi/image-csi-operator/internal/contract"
)

var carol = []*runtimeapi.AuthConfig{{Username: "carol", Password: "hunter2"}}

// openTo is a registry that gives its images to some users, "" being anyone.
func openTo(users *[]string) func(context.Context, string, *runtimeapi.AuthConfig) error {
	return func(_ context.Context, _ string, auth *runtimeapi.AuthConfig) error {
		for _, user := range *users {
			if user == auth.GetUsername() {
				return nil
			}
		}
		return status.Error(codes.Unknown, "unexpected status: 401 Unauthorized")
	}
}

func have(t *testing.T, p *Puller, image string, policy contract.PullPolicy, auths []*runtimeapi.AuthConfig, want Kind) {
	t.Helper()
	err := p.Ensure(within(t, 10*time.Second), Request{Image: image, Policy: policy, Auths: auths})
	if (want == "" && err != nil) || (want != "" && (err == nil || kindOf(t, err) != want)) {
		t.Errorf("%s, policy %q: %v, want %q", image, policy, err, want)
	}
}

func TestWhatOpenedOneImageOpensNoOther(t *testing.T) {
	users := []string{"alice", ""}
	cri := &fakeCRI{onPull: openTo(&users), digests: map[string]string{"r.example/app:2": "sha256:2", "r.example/lib:2": "sha256:2"}}
	p := newPuller(t, cri, Config{Access: records(t), Verify: contract.AlwaysVerify})
	have(t, p, "r.example/app:1", "", alice, "")
	have(t, p, "r.example/lib:1", "", nil, "")
	users = []string{"carol"} // alice is shut out, and nothing is public any longer
	for _, repository := range []string{"r.example/app", "r.example/lib"} {
		have(t, p, repository+":2", "", carol, "")
		have(t, p, repository+":2", "", alice, NotYours)
		have(t, p, repository+":2", contract.PullNever, nil, Unproven)
	}
	have(t, p, "r.example/lib:1", contract.PullNever, nil, Unproven) // the refusal of lib:2 counts for the repository
	have(t, p, "r.example/app:1", contract.PullNever, alice, Unproven)
}

func TestARefusalTakesBackWhatCredentialsOpened(t *testing.T) {
	users := []string{"alice", "carol"}
	cri := &fakeCRI{onPull: openTo(&users)}
	p := newPuller(t, cri, Config{Access: records(t)})
	have(t, p, image, "", alice, "")
	have(t, p, image, "", carol, "")
	users = []string{"carol"}
	have(t, p, image, "", alice, "") // no caller has asked
	have(t, p, image, contract.PullAlways, append(alice[:1:1], carol...), "")
	have(t, p, image, "", alice, NotYours)
	have(t, p, image, contract.PullNever, carol, "")
}

func TestAFailedPullClosesNoImage(t *testing.T) {
	for _, failure := range []error{
		status.Error(codes.Unknown, "http: server gave HTTP response to HTTPS client"),
		status.Error(codes.Unknown, "unexpected status from HEAD request to https://mirror/v2/: 503 Service Unavailable"),
		status.Error(codes.Unknown, "failed to do request: Head: EOF"),
		status.Error(codes.Unknown, "SignatureValidationFailed: no policy"),
		status.Error(codes.NotFound, "no match for platform in manifest: not found"),
		status.Error(codes.Unknown, "dial tcp: connection refused"),
		status.Error(codes.Unavailable, "error reading from server: EOF"),
		status.Error(codes.DeadlineExceeded, "context deadline exceeded"),
		status.Error(codes.Unknown, "something that nobody has seen before"),
	} {
		cri := &fakeCRI{images: map[string]bool{image: true}, onPull: func(context.Context, string, *runtimeapi.AuthConfig) error { return failure }}
		p := newPuller(t, cri, Config{Access: records(t)})
		if err := p.Ensure(within(t, 10*time.Second), Request{Image: image, Policy: contract.PullAlways, Auths: bob}); err == nil {
			t.Fatal("the pull went well")
		}
		for _, policy := range []contract.PullPolicy{contract.PullIfNotPresent, contract.PullNever} {
			if err := p.Ensure(within(t, 10*time.Second), Request{Image: image, Policy: policy}); err != nil {
				t.Errorf("after %v: %v", failure, err)
			}
		}
	}
}

func TestWhatAPullBroughtInSpiteOfItsErrorIsClosed(t *testing.T) {
	for name, failure := range map[string]error{
		"answered":     status.Error(codes.Unknown, "failed to store the image's reference"),
		"not answered": status.Error(codes.Unavailable, "error reading from server: EOF"),
	} {
		var cri *fakeCRI
		cri = &fakeCRI{onPull: func(_ context.Context, name string, auth *runtimeapi.AuthConfig) error {
			cri.mu.Lock()
			defer cri.mu.Unlock()
			cri.images[name] = true
			if auth == nil {
				return status.Error(codes.Unknown, "unexpected status: 401 Unauthorized")
			}
			return failure
		}}
		p := newPuller(t, cri, Config{Access: records(t)})
		if err := p.Ensure(within(t, 10*time.Second), Request{Image: image, Auths: alice}); err == nil {
			t.Fatal("the pull went well")
		}
		if err := p.Ensure(within(t, 10*time.Second), Request{Image: image, Policy: contract.PullNever}); err == nil || kindOf(t, err) != Unproven {
			t.Errorf("%s: %v, want %s", name, err, Unproven)
		}
	}
}

func TestWhereTheNodesImagesCannotBeToldNothingIsOpenedByAnError(t *testing.T) {
	away := errors.New("the images are away")
	cri := &fakeCRI{listing: away, looking: away, onPull: func(context.Context, string, *runtimeapi.AuthConfig) error {
		return status.Error(codes.Unknown, "something else")
	}}
	p := newPuller(t, cri, Config{Access: records(t)})
	have(t, p, image, contract.PullAlways, alice, Unknown)
	cri.mu.Lock()
	cri.images[image], cri.looking = true, nil
	cri.mu.Unlock()
	have(t, p, image, contract.PullNever, nil, Unproven)
}

// The list may be away for a moment, as the pull begins. What a failed pull did not bring stays as it was.
func TestAFailedPullClosesNoImageAlsoWhereItWasNotToldWhatThereWas(t *testing.T) {
	const other = "r.example/app:2"
	var cri *fakeCRI
	cri = &fakeCRI{
		images: map[string]bool{image: true}, listing: errors.New("the list is away"), digests: map[string]string{other: "sha256:2222"},
		onPull: func(_ context.Context, name string, auth *runtimeapi.AuthConfig) error {
			if auth == nil {
				return status.Error(codes.Unknown, "unexpected status: 401 Unauthorized")
			}
			cri.mu.Lock()
			defer cri.mu.Unlock()
			cri.listing = nil
			cri.images[other] = name == other // in spite of its error
			return status.Error(codes.Unknown, "503 Service Unavailable")
		},
	}
	p := newPuller(t, cri, Config{Access: records(t)})
	have(t, p, image, contract.PullAlways, bob, Failing)
	have(t, p, image, contract.PullNever, nil, "")
	cri.mu.Lock()
	cri.listing = errors.New("the list is away")
	cri.mu.Unlock()
	have(t, p, other, "", bob, Failing)
	have(t, p, other, contract.PullNever, nil, Unproven)
	have(t, p, image, contract.PullNever, nil, "")
}

func TestTheImageThatACallerHasFoundIsTheOneThatCounts(t *testing.T) {
	users := []string{"alice"}
	cri := &fakeCRI{onPull: openTo(&users), digests: map[string]string{}}
	p := newPuller(t, cri, Config{Access: records(t)})
	have(t, p, image, "", alice, "")
	const other = "sha256:9999"
	ask := func(digest string, policy contract.PullPolicy) error {
		return p.Ensure(within(t, 10*time.Second), Request{Image: image, Policy: policy, Held: true, Digest: digest})
	}
	if err := ask(fakeDigest, contract.PullNever); err == nil {
		t.Error("alice's image is open to all")
	}
	if err := ask(other, contract.PullNever); err != nil {
		t.Error("an image that was not pulled:", err)
	}
	cri.mu.Lock()
	delete(cri.images, image)
	cri.digests[image] = other // the tag has moved, and is public
	cri.mu.Unlock()
	users = []string{""}
	if err := ask(fakeDigest, contract.PullIfNotPresent); err != nil || !cri.has("r.example/app@"+fakeDigest) || cri.has(image) {
		t.Errorf("%v: something else was brought than what the caller is going to show", err)
	}
}

func TestAFewCredentialsAreTriedAndEachOnce(t *testing.T) {
	asked := map[string]int{}
	cri := &fakeCRI{onPull: func(_ context.Context, _ string, auth *runtimeapi.AuthConfig) error {
		asked[auth.GetUsername()]++
		return status.Error(codes.Unknown, "unexpected status: 401 Unauthorized")
	}}
	p := newPuller(t, cri, Config{})
	var auths []*runtimeapi.AuthConfig
	for i := range 3 * MaxCredentials {
		user := fmt.Sprint("user", i)
		auths = append(auths, &runtimeapi.AuthConfig{Username: user}, &runtimeapi.AuthConfig{Username: user})
	}
	have(t, p, image, "", auths, Denied)
	if len(asked) != MaxCredentials+1 {
		t.Errorf("%d credentials were tried", len(asked))
	}
	for user, times := range asked {
		if times != 1 {
			t.Errorf("%q was tried %d times", user, times)
		}
	}
}

func TestARefusalSaysWhatWasRefusedAndWhatToDo(t *testing.T) {
	var none []string
	p := newPuller(t, &fakeCRI{onPull: openTo(&none)}, Config{Access: records(t)})
	refusal := func(r Request) string {
		t.Helper()
		r.Image = image
		err := p.Ensure(within(t, 10*time.Second), r)
		if kindOf(t, err) != Denied || strings.Contains(err.Error(), "hunter2") || strings.Contains(err.Error(), "alice") {
			t.Errorf("got %v", err)
		}
		return err.Error()
	}
	for _, c := range []struct {
		request Request
		words   []string
	}{
		{Request{}, []string{"without credentials, because there are none for it", "have nodePublishSecretRef name a secret"}},
		{Request{Unmatched: []string{"secret x"}}, []string{"there are none for it", "no entry for this registry: secret x"}},
		{Request{Auths: alice, Sources: []string{"secret x"}}, []string{"refused the credentials of secret x, and a pull without any", "check that they are valid"}},
		{
			Request{Auths: append(alice[:1:1], bob...), Sources: []string{"secret x", "secret x"}, Provided: &Provided{
				Ask: func(context.Context) ([]*runtimeapi.AuthConfig, error) { return carol, nil },
			}},
			[]string{"the credentials of secret x, the node's credential providers, and"},
		},
	} {
		said := refusal(c.request)
		for _, word := range c.words {
			if !strings.Contains(said, word) {
				t.Errorf("%q does not say %q", said, word)
			}
		}
		if again := refusal(c.request); again != said {
			t.Errorf("another try says it in other words: %q, %q", said, again)
		}
	}
}

func TestWhatANamespaceWasGivenIsNotGivenToAnother(t *testing.T) {
	cri := &fakeCRI{refuse: func(namespace string) error {
		if namespace == "red" { // for which the runtime has credentials of its own
			return nil
		}
		return status.Error(codes.Unknown, "unexpected status: 401 Unauthorized")
	}}
	p := newPuller(t, cri, Config{Access: records(t), Namespaced: true})
	in := func(namespace string) error {
		return p.Ensure(within(t, 10*time.Second), Request{Image: image, Namespace: namespace})
	}
	if err := in("red"); err != nil {
		t.Error(err)
	}
	if err := in("blue"); err == nil || kindOf(t, err) != NotYours {
		t.Errorf("blue: %v", err)
	}
	pulls := cri.pulls.Load()
	if err := in("red"); err != nil || cri.pulls.Load() != pulls {
		t.Error("red is asked again:", err)
	}
}

// kubelet reports whether images are open, by their repository; any other is unreadable.
type kubelet map[string]bool

func (k kubelet) Open(_ context.Context, repository string, refs []string) (bool, error) {
	open, ok := k[repository]
	if !ok || len(refs) != 2 || refs[0] != "sha256:1" {
		return false, fmt.Errorf("cannot read the record of %q", refs)
	}
	return open, nil
}

func TestWhatTheKubeletPulledForOneTenantIsNotPreloadedForAnother(t *testing.T) {
	users := []string{"alice"}
	held := map[string]bool{"r.example/public:1": true, "r.example/private:1": true, "r.example/unreadable:1": true}
	p := newPuller(t, &fakeCRI{onPull: openTo(&users), images: held},
		Config{Access: records(t), Kubelet: kubelet{"r.example/public": true, "r.example/private": false}})
	for _, found := range []bool{true, false} {
		for name, want := range map[string]Kind{"public": "", "private": NotYours, "unreadable": NotYours} {
			r := Request{Image: "r.example/" + name + ":1", Auths: bob}
			if found {
				r.Held, r.Digest = true, fakeDigest
			}
			err := p.Ensure(within(t, 10*time.Second), r)
			if (want == "" && err != nil) || (want != "" && (err == nil || kindOf(t, err) != want)) {
				t.Errorf("%s: %v, want %q", name, err, want)
			}
		}
	}
	have(t, p, "r.example/private:1", "", alice, "")
}
