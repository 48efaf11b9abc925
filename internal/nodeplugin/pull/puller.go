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
	// DefaultTimeout ends a pull that hangs. The runtimes themselves end a pull without progress much sooner.
	DefaultTimeout = 2 * time.Hour

	// DefaultRetention is how long the result of a pull is kept for the next try if no caller waited, and how long a pull without
	// callers goes on while others wait. The kubelet tries again within about two minutes.
	DefaultRetention = 5 * time.Minute

	// DefaultFirstWord is when a pod gets its first event that a pull goes on. That costs one more event. After it the kubelet
	// calls again at once, and that call waits as long as it may.
	DefaultFirstWord = 10 * time.Second

	// DefaultRefusalRetention is how long an image that was pulled and is too large is refused without asking the registry,
	// where its tag may have moved to a smaller image.
	DefaultRefusalRetention = time.Hour
)

// Config configures a Puller.
type Config struct {
	MaxParallel int           // pulls at a time; 0 stands for contract.DefaultMaxParallelPulls
	Timeout     time.Duration // for one pull; 0 stands for DefaultTimeout
	Retention   time.Duration // of pulls and results for which no caller waits; 0 stands for DefaultRetention
	FirstWord   time.Duration // until a pod's first event about a pull that goes on; 0 stands for DefaultFirstWord
	Logger      *slog.Logger  // nil is silence
	Observer    Observer      // nil observes nothing
	Downloads   Downloads     // nil if the runtime does not report them

	MaxImageBytes    int64         // as the runtime counts an image's size; 0 is no limit
	RefusalRetention time.Duration // of images larger than that; 0 stands for DefaultRefusalRetention

	// Namespaced is set if the runtime chooses signature policy and credentials by the pod's namespace, as CRI-O does
	// (crio.conf(5), signature_policy_dir). For containerd the namespace makes no difference, so pods of all namespaces share
	// pulls there.
	Namespaced bool
	Policies   Policies // of the namespaces, if Namespaced; nil if they cannot be read

	Kubelet Kubelet // the kubelet's records of its own pulls; nil if they cannot be read

	Access *imageaccess.Records  // who may have images that are on the node; nil is everyone
	Verify contract.Verification // for which images access is verified; empty stands for contract.NeverVerifyPreloadedImages
}

// Kubelet has the kubelet's records of its pulls.
type Kubelet interface {
	// Open reports whether the kubelet would give an image of a repository to any pod: it did not pull the image, or did so
	// without credentials. refs are the names by which the runtime knows the image, its ID among them. An error means that this
	// is not known.
	Open(ctx context.Context, repository string, refs []string) (bool, error)
}

// Policies are the runtime's signature policies for namespaces.
type Policies interface {
	// Of returns an identifier of a namespace's policy, empty if the namespace has none of its own. An error means that
	// this is not known.
	Of(ctx context.Context, namespace string) (id string, err error)
}

// Request is an image to have on the node.
type Request struct {
	Image  string                   // normalised: the same image always has the same name here
	Policy contract.PullPolicy      // empty stands for IfNotPresent
	Auths  []*runtimeapi.AuthConfig // tried in this order, MaxCredentials at most; none is an anonymous pull

	Sources   []string // where each of Auths comes from, for messages, such as "secret registry"
	Unmatched []string // sources without a credential for the image's registry, for messages

	Provided  *Provided // tried after Auths; nil is none
	For       string    // the pod that waits for it; pods take turns, so that one with many images does not hold up others
	Namespace string    // the pod's, for a runtime whose policy depends on it (Config.Namespaced)

	Held   bool   // set if the caller has found the image in the runtime's store, so that the runtime need not be asked
	Digest string // of the image that it found and will mount; empty if not known
}

// Provided are credentials that are fetched only when a registry is asked, because that takes time.
type Provided struct {
	// To names the recipient, and is equal for all that get the same credentials. Empty is every pod on the node.
	To string

	// Ask returns them, the best first, and what failed on the way, which matters only if the image cannot be pulled without
	// them. It may be called concurrently.
	Ask func(ctx context.Context) ([]*runtimeapi.AuthConfig, error)
}

// record returns how the access records identify these credentials; nil stands for anyone.
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
	proofs  *queues // of access to images on the node: a request for a manifest does not wait for downloads

	ctx  context.Context //nolint:containedctx // of the pulls, which outlive their callers
	stop context.CancelFunc
	done sync.WaitGroup

	mu      sync.Mutex
	flights map[flightKey]*flight
	flown   uint64 // flights that began
}

// New returns a Puller on a runtime. The caller has to close the runtime.
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
		config.Verify = contract.NeverVerifyPreloadedImages
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

// Close ends the pulls under way. The runtime keeps what it has, so the next pull continues from there.
func (p *Puller) Close() {
	p.stop()
	p.done.Wait()
}

// Ensure returns when the runtime holds the image and the caller may have it. Every error is an *Error.
func (p *Puller) Ensure(ctx context.Context, r Request) error {
	if !p.config.Namespaced {
		r.Namespace = ""
	}
	if r.Policy != contract.PullAlways {
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
		if r.Policy == contract.PullNever {
			return newError(NotPresent, r.Image, nil)
		}
		if r.Held && r.Digest != "" {
			// The image is gone. What the name means at the registry now may not be what the caller will mount.
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

// wait returns the result of the pull, or StillPulling: after Config.FirstWord to a pod that has had no event about the pull, to
// any other pod shortly before ctx ends. An answer in time shows in the pod's events; after a deadline they show only that.
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
	f.notified[pod] = true
	p.mu.Unlock()
	return &Error{
		Kind:  StillPulling,
		Image: f.key.image,
		text:  fmt.Sprintf("image %s is %s; the kubelet will try again", f.key.image, p.describe(ctx, f)),
		cause: ctx.Err(),
	}
}

// knows reports whether a pod has had an event about a pull.
func (p *Puller) knows(f *flight, pod string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return f.notified[pod]
}

// beforeDeadline returns ctx with an earlier deadline: by a tenth of what is left, and at most by five seconds.
func beforeDeadline(ctx context.Context) (context.Context, context.CancelFunc) {
	deadline, ok := ctx.Deadline()
	if !ok {
		return context.WithCancel(ctx)
	}
	margin := min(time.Until(deadline)/10, 5*time.Second)
	return context.WithDeadline(ctx, deadline.Add(-margin))
}

// run runs one pull, from its place in the queue to its end.
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

// pullOnce has the runtime pull with one credential; nil is anonymous.
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
