package pull

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/image-csi/image-csi-operator/internal/contract"
	"github.com/image-csi/image-csi-operator/internal/nodeplugin/imageaccess"
)

const (
	// DefaultTimeout ends a pull that hangs. The runtimes themselves give up a pull without progress much sooner.
	DefaultTimeout = 2 * time.Hour

	// DefaultRetention is how long the end of a pull that nobody waited for is kept for the next try, and how long a
	// pull that nobody asks for goes on while others wait. The kubelet tries again within about two minutes.
	DefaultRetention = 5 * time.Minute

	// DefaultFirstWord is when a pod first hears that a pull goes on. It costs the pod one event more; after it the kubelet
	// calls again at once, and that call waits as long as it may.
	DefaultFirstWord = 10 * time.Second

	// DefaultRefusalRetention is how long an image that was pulled and is too large is refused without a look at
	// the registry, where its tag may have moved to a smaller one.
	DefaultRefusalRetention = time.Hour
)

// Config says how a Puller pulls.
type Config struct {
	MaxParallel int           // pulls at a time; 0 stands for contract.DefaultMaxParallelPulls
	Timeout     time.Duration // for one pull; 0 stands for DefaultTimeout
	Retention   time.Duration // of pulls and results nobody waits for; 0 stands for DefaultRetention
	FirstWord   time.Duration // until a pod hears that a pull goes on; 0 stands for DefaultFirstWord
	Logger      *slog.Logger  // nil is silence
	Observer    Observer      // nil observes nothing
	Downloads   Downloads     // nil where the runtime does not tell

	MaxImageBytes    int64         // as the runtime counts an image's size; 0 is no limit
	RefusalRetention time.Duration // of images larger than that; 0 stands for DefaultRefusalRetention

	// Namespaced says that the runtime chooses signature policy and credentials by the pod's namespace, as CRI-O does
	// (crio.conf(5), signature_policy_dir). To containerd the namespace makes no difference, so there pods of all
	// namespaces share pulls.
	Namespaced bool
	Policies   Policies // of the namespaces, where it does; nil where none of them can be seen

	Kubelet Kubelet // what the kubelet knows of its own pulls; nil where that cannot be read

	Access *imageaccess.Records // who may have what is on the node already; nil is everybody
	Verify imageaccess.Policy   // for which images that is asked; empty stands for imageaccess.DefaultPolicy
}

// Kubelet knows what the kubelet pulled.
type Kubelet interface {
	// Open reports whether the kubelet would give an image of a repository to any pod: it did not pull the image, or
	// without anybody's credentials. refs are the names by which the runtime knows the image, its ID among them. An error
	// says that this cannot be told.
	Open(ctx context.Context, repository string, refs []string) (bool, error)
}

// Policies are the runtime's own for the namespaces of pods.
type Policies interface {
	// Of returns what tells the policy of a namespace from any other, empty if it has none of its own. An error says that
	// this cannot be told.
	Of(ctx context.Context, namespace string) (id string, err error)
}

// Request is an image to have on the node.
type Request struct {
	Image  string                   // normalised: the same image always has the same name here
	Policy Policy                   // empty stands for IfNotPresent
	Auths  []*runtimeapi.AuthConfig // tried in this order, MaxCredentials at most; none is an anonymous pull

	Sources   []string // where each of Auths comes from, for people, such as "secret registry"
	Unmatched []string // what was looked into and has no credential for the image's registry, for people

	Provided  *Provided // tried after Auths; nil is none
	For       string    // who waits for it: those who ask for less are not kept waiting by those who ask for more
	Namespace string    // the pod's; names it to a runtime whose policy differs by namespace (Config.Namespaced)

	Held   bool   // the caller has found the image in the runtime's store: the runtime need not be asked for that
	Digest string // of what it has found, which is what it is going to show; empty if it does not know
}

// Provided are credentials that are asked for only when a registry is, because that takes time.
type Provided struct {
	// To names for whom they are, and is the same for all who get the same. Empty is everyone on the node.
	To string

	// Ask returns them, the best first, and what went wrong on the way, which concerns the caller only if the image
	// cannot be had without. It may be called at the same time as others.
	Ask func(ctx context.Context) ([]*runtimeapi.AuthConfig, error)
}

// record is what the access records know these credentials by; nil stands for anyone.
func (p *Provided) record() *runtimeapi.AuthConfig {
	if p == nil || p.To == "" {
		return nil
	}
	return imageaccess.Served(p.To)
}

// Puller pulls images, one pull at a time for each image and set of credentials.
type Puller struct {
	runtime *Runtime
	config  Config
	pulls   *queues
	proofs  *queues // of access to what is on the node: a request for a manifest does not wait for downloads

	ctx  context.Context //nolint:containedctx // of the pulls, which outlive their callers
	stop context.CancelFunc
	done sync.WaitGroup

	mu      sync.Mutex
	flights map[flightKey]*flight
}

// New returns a Puller on a runtime, which stays the caller's.
func New(runtime *Runtime, config Config) *Puller {
	if config.MaxParallel <= 0 {
		config.MaxParallel = contract.DefaultMaxParallelPulls
	}
	if config.Timeout <= 0 {
		config.Timeout = DefaultTimeout
	}
	if config.Retention <= 0 {
		config.Retention = DefaultRetention
	}
	if config.FirstWord <= 0 {
		config.FirstWord = DefaultFirstWord
	}
	if config.RefusalRetention <= 0 {
		config.RefusalRetention = DefaultRefusalRetention
	}
	if config.Verify == "" {
		config.Verify = imageaccess.DefaultPolicy
	}
	if config.Logger == nil {
		config.Logger = slog.New(slog.DiscardHandler)
	}
	ctx, stop := context.WithCancel(context.Background())
	return &Puller{
		runtime: runtime,
		config:  config,
		pulls:   newQueues(config.MaxParallel),
		proofs:  newQueues(config.MaxParallel),
		ctx:     ctx,
		stop:    stop,
		flights: map[flightKey]*flight{},
	}
}

// Close gives up the pulls under way. The runtime keeps what it has, so the next pull goes on from there.
func (p *Puller) Close() {
	p.stop()
	p.done.Wait()
}

// Ensure returns when the runtime holds the image and the caller may have it. Every error is an *Error.
func (p *Puller) Ensure(ctx context.Context, r Request) error {
	if !p.config.Namespaced {
		r.Namespace = ""
	}
	if r.Policy != Always {
		if r.Held && p.config.MaxImageBytes <= 0 && p.open(ctx, r, imageaccess.Image{Repository: repositoryOf(r.Image), Digest: r.Digest}, nil) {
			return nil
		}
		held, err := p.held(ctx, r.Image)
		if err != nil {
			return err
		}
		if held != nil {
			if err := p.authorize(ctx, r, held); err != nil {
				return err
			}
			return p.limit(r.Image, held)
		}
		if r.Policy == Never {
			return newError(NotPresent, r.Image, nil)
		}
		if r.Held && r.Digest != "" {
			// It is gone from under its name. What the name means at the registry now is not what the caller shows.
			return p.wait(ctx, p.join(r, repositoryOf(r.Image)+"@"+r.Digest, false), r.For) //nolint:contextcheck // as below
		}
	}
	return p.wait(ctx, p.join(r, r.Image, false), r.For) //nolint:contextcheck // a pull outlives the caller that began it
}

// held returns what the runtime knows of the image, nil if it does not hold it.
func (p *Puller) held(ctx context.Context, image string) (*runtimeapi.Image, error) {
	ctx, cancel := context.WithTimeout(ctx, statusTimeout)
	defer cancel()
	held, err := p.runtime.image(ctx, image)
	if err != nil {
		return nil, classify(ctx, image, err)
	}
	return held, nil
}

// wait returns how the pull ended, or StillPulling: to a pod that has not heard of it after Config.FirstWord, to any
// other shortly before ctx ends. An answer in time reaches the pod's events, a deadline only says that it passed.
func (p *Puller) wait(ctx context.Context, f *flight, pod string) error {
	defer p.leave(f)
	early, cancel := beforeDeadline(ctx)
	defer cancel()
	if !p.knows(f, pod) {
		early, cancel = context.WithTimeout(early, p.config.FirstWord)
		defer cancel()
	}
	select {
	case <-f.ended:
		return p.collect(f)
	case <-early.Done():
	}
	select {
	case <-f.ended:
		return p.collect(f)
	default:
	}
	p.mu.Lock()
	f.told[pod] = true
	p.mu.Unlock()
	return &Error{
		Kind:  StillPulling,
		Image: f.key.image,
		text:  fmt.Sprintf("image %s is %s; the kubelet will try again", f.key.image, p.describe(ctx, f)),
		cause: ctx.Err(),
	}
}

// knows reports whether a pod has heard of a pull.
func (p *Puller) knows(f *flight, pod string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return f.told[pod]
}

// beforeDeadline is ctx with a deadline a little earlier: a tenth of what is left, five seconds at most.
func beforeDeadline(ctx context.Context) (context.Context, context.CancelFunc) {
	deadline, ok := ctx.Deadline()
	if !ok {
		return context.WithCancel(ctx)
	}
	margin := min(time.Until(deadline)/10, 5*time.Second)
	return context.WithDeadline(ctx, deadline.Add(-margin))
}

// run is one pull, from its place in the queue to its end.
func (p *Puller) run(f *flight, r Request) error {
	give, err := p.takeTurn(f, r.For)
	p.observe(Observer.PullStarted)
	if err != nil {
		return newError(RuntimeDown, f.key.image, errors.New("the node plugin is shutting down"))
	}
	defer give()
	f.begin(time.Now())

	ctx, cancel := context.WithTimeout(f.ctx, p.config.Timeout)
	defer cancel()
	before, known := p.heldBefore(ctx, f.key.reference)
	noted, err := p.noteBegin(ctx, f.key, len(r.Auths) > 0 || r.Provided != nil)
	if err != nil {
		return err
	}
	tried := tries{puller: p, key: f.key, noted: noted}
	taken, err := tried.pull(ctx, r)
	if err != nil {
		p.noteFailed(ctx, noted, f.key.reference, before, known, tried.last)
		return err
	}
	pulled, err := p.held(ctx, f.key.reference)
	p.noteBrought(ctx, noted, f.key, taken, pulled)
	if err != nil {
		if p.config.MaxImageBytes > 0 {
			return err
		}
		return nil // the pull itself went well
	}
	f.bytes, f.isNew = int64(pulled.GetSize()), known && before == nil
	return p.limitPulled(ctx, f.key, before, pulled)
}

// pullOnce has the runtime pull with one credential; nil is none.
func (p *Puller) pullOnce(ctx context.Context, key flightKey, auth *runtimeapi.AuthConfig) error {
	err := p.runtime.pull(ctx, key.reference, key.namespace, auth)
	if err == nil {
		return nil
	}
	failed := classify(ctx, key.image, err)
	if failed.Kind == Corrupt {
		p.discard(ctx, failed)
	}
	return failed
}

func denied(err error) bool { return isKind(err, Denied) }

func isKind(err error, kind Kind) bool {
	var e *Error
	return errors.As(err, &e) && e.Kind == kind
}
