package pull

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/image-csi/image-csi-operator/internal/contract"
	"github.com/image-csi/image-csi-operator/internal/nodeplugin/imageaccess"
)

var (
	alice = []*runtimeapi.AuthConfig{{Username: "alice", Password: "hunter2"}}
	bob   = []*runtimeapi.AuthConfig{{Username: "bob", Password: "hunter2"}}
)

// privateRegistry gives images to alice only, for as long as it can be reached.
type privateRegistry struct {
	mu     sync.Mutex
	away   bool
	public bool
	asked  []string // references
}

func (p *privateRegistry) pull(_ context.Context, image string, auth *runtimeapi.AuthConfig) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asked = append(p.asked, image)
	switch {
	case p.away:
		return status.Error(codes.Unknown, "dial tcp: connection refused")
	case auth.GetUsername() == "alice" || (p.public && auth == nil):
		return nil
	}
	return status.Error(codes.Unknown, "unexpected status: 401 Unauthorized")
}

func (p *privateRegistry) set(change func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change()
}

func verifying(t *testing.T, registry *privateRegistry, dir string, policy contract.Verification, held ...string) *Puller {
	t.Helper()
	records, err := imageaccess.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	cri := &fakeCRI{onPull: registry.pull, images: map[string]bool{"r.example/pause:1": true}}
	for _, name := range held {
		cri.images[name] = true
	}
	return newPuller(t, cri, Config{Access: records, Verify: policy})
}

func ensure(t *testing.T, p *Puller, policy contract.PullPolicy, auths []*runtimeapi.AuthConfig, want Kind) (code codes.Code, sentence string) {
	t.Helper()
	err := p.Ensure(within(t, 10*time.Second), Request{Image: image, Policy: policy, Auths: auths})
	switch {
	case want == "" && err != nil:
		t.Errorf("policy %q: %v", policy, err)
	case want != "" && err == nil:
		t.Errorf("policy %q: no error, want %s", policy, want)
	case want != "" && kindOf(t, err) != want:
		t.Errorf("policy %q: %v, want %s", policy, err, want)
	}
	if err != nil && strings.Contains(err.Error(), "hunter2") {
		t.Errorf("the error contains the password: %v", err)
	}
	var e *Error
	if !errors.As(err, &e) {
		return codes.OK, ""
	}
	return e.Code(), e.Error()
}

func TestACachedPrivateImageIsForThoseWhoseCredentialsOpenIt(t *testing.T) {
	registry := &privateRegistry{}
	p := verifying(t, registry, t.TempDir(), "")
	ensure(t, p, "", alice, "")
	_, sentence := ensure(t, p, "", bob, NotYours)
	if !strings.Contains(sentence, "is on this node, but the registry does not give it to this volume") {
		t.Errorf("not a clear sentence: %s", sentence)
	}
	ensure(t, p, "", nil, NotYours)
	ensure(t, p, "", append(bob, alice...), "")

	registry.set(func() { registry.away = true })
	ensure(t, p, "", alice, "") // known: no network needed
	_, sentence = ensure(t, p, "", bob, Unreachable)
	if !strings.Contains(sentence, "could not be verified") {
		t.Errorf("not a clear sentence: %s", sentence)
	}
}

func TestARestartForgetsNoPrivateImage(t *testing.T) {
	registry, dir := &privateRegistry{}, t.TempDir()
	ensure(t, verifying(t, registry, dir, ""), "", alice, "")
	registry.set(func() { registry.away = true })
	p := verifying(t, registry, dir, "", image)
	ensure(t, p, "", alice, "")
	ensure(t, p, "", nil, Unreachable)
}

func TestWhatTheRegistryIsAskedIsTheVersionOnTheNode(t *testing.T) {
	registry := &privateRegistry{}
	p := verifying(t, registry, t.TempDir(), "")
	ensure(t, p, "", alice, "")
	ensure(t, p, "", bob, NotYours)
	for _, asked := range registry.asked[1:] {
		if asked != "r.example/app@"+fakeDigest {
			t.Errorf("asked for %s", asked)
		}
	}
}

func TestAnImagePulledAnonymouslyIsForAll(t *testing.T) {
	registry := &privateRegistry{public: true}
	p := verifying(t, registry, t.TempDir(), contract.AlwaysVerify)
	ensure(t, p, "", bob, "") // a stale credential, then none
	registry.set(func() { registry.away = true })
	ensure(t, p, "", nil, "")
	ensure(t, p, "", alice, "")
}

func TestAnImageThatCredentialsBroughtOpensToAllOncePulledWithout(t *testing.T) {
	registry := &privateRegistry{public: true}
	p := verifying(t, registry, t.TempDir(), "")
	ensure(t, p, "", alice, "")
	ensure(t, p, "", nil, "")
	registry.set(func() { registry.away = true })
	ensure(t, p, "", bob, "")
}

func TestPreloadedImagesFollowThePolicy(t *testing.T) {
	for policy, want := range map[contract.Verification]Kind{
		"":                                  "",
		contract.NeverVerifyPreloadedImages: "",
		contract.NeverVerify:                "",
		contract.AlwaysVerify:               Unreachable,
	} {
		p := verifying(t, &privateRegistry{away: true}, t.TempDir(), policy, image)
		ensure(t, p, contract.PullIfNotPresent, nil, want)
	}
}

func TestNeverVerifyGivesWhatIsThere(t *testing.T) {
	p := verifying(t, &privateRegistry{}, t.TempDir(), contract.NeverVerify)
	ensure(t, p, "", alice, "")
	ensure(t, p, "", bob, "")
}

func TestTheNeverPolicyAsksNoRegistry(t *testing.T) {
	registry := &privateRegistry{}
	p := verifying(t, registry, t.TempDir(), "")
	ensure(t, p, "", alice, "")
	asked := len(registry.asked)
	ensure(t, p, contract.PullNever, alice, "")
	if code, _ := ensure(t, p, contract.PullNever, bob, Unproven); code != codes.PermissionDenied {
		t.Errorf("code %s, want PermissionDenied", code)
	}
	if len(registry.asked) != asked {
		t.Errorf("the registry was asked for %q", registry.asked[asked:])
	}
}

func TestAFailedPullWithCredentialsClosesNoPreloadedImage(t *testing.T) {
	registry := &privateRegistry{away: true}
	p := verifying(t, registry, t.TempDir(), "", image)
	ensure(t, p, contract.PullAlways, alice, Unreachable)
	ensure(t, p, "", nil, "")
}

func TestNothingIsPulledThatCannotBeRecorded(t *testing.T) {
	registry, dir := &privateRegistry{}, filepath.Join(t.TempDir(), "records")
	p := verifying(t, registry, dir, "")
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	ensure(t, p, "", alice, Defect)
	if len(registry.asked) != 0 {
		t.Errorf("pulled %q", registry.asked)
	}
}

func TestRecordsOfImagesThatLeftTheNodeGo(t *testing.T) {
	registry, dir := &privateRegistry{}, t.TempDir()
	ensure(t, verifying(t, registry, dir, ""), "", alice, "")
	p := verifying(t, registry, dir, "") // the image is gone
	other := Request{Image: "r.example/other:1", Auths: alice}
	if err := p.Ensure(within(t, 10*time.Second), other); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil || len(files) != 1 {
		t.Errorf("records %q (%v), want one", files, err)
	}
}

// provided gives alice's password to the pods of an account, and counts how often it is asked.
func provided(account string, asked *atomic.Int32, failed error) *Provided {
	return &Provided{To: account, Ask: func(context.Context) ([]*runtimeapi.AuthConfig, error) {
		asked.Add(1)
		if failed != nil {
			return nil, failed
		}
		return alice, nil
	}}
}

func TestProvidersAreAskedOnlyWhereTheRegistryIs(t *testing.T) {
	registry := &privateRegistry{}
	p := verifying(t, registry, t.TempDir(), "")
	var asked atomic.Int32
	with := func(auths []*runtimeapi.AuthConfig, account string, want Kind, asks int32) {
		t.Helper()
		asked.Store(0)
		err := p.Ensure(within(t, 10*time.Second), Request{Image: image, Auths: auths, Provided: provided(account, &asked, nil)})
		if (want == "" && err != nil) || (want != "" && kindOf(t, err) != want) {
			t.Errorf("account %q: %v, want %q", account, err, want)
		}
		if got := asked.Load(); got != asks {
			t.Errorf("account %q: providers asked %d times, want %d", account, got, asks)
		}
	}
	with(nil, "ns/a/1", "", 1)
	with(nil, "ns/a/1", "", 0) // known
	with(bob, "ns/b/2", "", 1) // another account proves itself
	with(alice, "ns/c/3", "", 0)
	with(nil, "ns/c/3", "", 1) // it was alice's own password that opened the image
	registry.set(func() { registry.away = true })
	with(nil, "ns/b/2", "", 0)
	with(nil, "ns/d/4", Unreachable, 1)
}

func TestWhatProvidersGiveToEveryoneOpensTheImageToAll(t *testing.T) {
	registry := &privateRegistry{}
	p := verifying(t, registry, t.TempDir(), "")
	var asked atomic.Int32
	if err := p.Ensure(within(t, 10*time.Second), Request{Image: image, Provided: provided("", &asked, nil)}); err != nil {
		t.Fatal(err)
	}
	registry.set(func() { registry.away = true })
	ensure(t, p, "", nil, "")
}

func TestAFailedProviderIsNamedWhereTheImageIsRefused(t *testing.T) {
	failed := errors.New("credential provider one: it ended with exit status 3")
	var asked atomic.Int32
	refused := func(p *Puller, want Kind) {
		t.Helper()
		err := p.Ensure(within(t, 10*time.Second), Request{Image: image, Provided: provided("ns/a/1", &asked, failed)})
		if kindOf(t, err) != want || !strings.Contains(err.Error(), failed.Error()) || !strings.Contains(err.Error(), "the registry") {
			t.Errorf("got %v", err)
		}
	}
	registry := &privateRegistry{}
	p := verifying(t, registry, t.TempDir(), "")
	refused(p, Denied)
	ensure(t, p, "", alice, "")
	refused(p, NotYours)

	registry.set(func() { registry.public = true })
	public := verifying(t, registry, t.TempDir(), "")
	if err := public.Ensure(within(t, 10*time.Second), Request{Image: image, Provided: provided("", &asked, failed)}); err != nil {
		t.Errorf("a public image: %v", err)
	}
}

func TestTheRuntimeIsNotAskedForAnImageThatTheCallerHasFound(t *testing.T) {
	found := Request{Image: image, Policy: contract.PullNever, Held: true}
	for name, c := range map[string]struct {
		config Config
		want   Kind
	}{
		"open to everybody":            {Config{}, ""},
		"a size limit needs it":        {Config{MaxImageBytes: 1}, NotPresent},
		"not shown to be the caller's": {Config{Access: records(t), Verify: contract.AlwaysVerify}, NotPresent},
	} {
		err := newPuller(t, &fakeCRI{}, c.config).Ensure(within(t, 10*time.Second), found) // which holds nothing
		if (c.want == "" && err != nil) || (c.want != "" && kindOf(t, err) != c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

func records(t *testing.T) *imageaccess.Records {
	t.Helper()
	opened, err := imageaccess.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return opened
}
