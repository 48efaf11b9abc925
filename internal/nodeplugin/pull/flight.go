package pull

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/image-csi/image-csi-operator/internal/nodeplugin/recoverpanic"
)

// flightKey is what callers must have in common to share a pull. Credentials are part of it, so that no caller gets a private
// image by another's right.
type flightKey struct {
	image     string // for messages
	reference string // what is pulled; by its digest if only the caller's access to the image is checked
	namespace string // of the pod, where the runtime's answer depends on it
	auths     [sha256.Size]byte
	provided  string // to whom the providers' credentials are given; "-" where there are none
}

func keyOf(r Request, reference string) flightKey {
	hash := sha256.New()
	for _, auth := range r.Auths {
		// Deterministic within one process, which is all that a key in memory needs.
		encoded, _ := proto.MarshalOptions{Deterministic: true}.Marshal(auth)
		fmt.Fprintf(hash, "%d:", len(encoded))
		hash.Write(encoded)
	}
	key := flightKey{image: r.Image, reference: reference, namespace: r.Namespace, provided: "-"}
	if r.Provided != nil {
		key.provided = r.Provided.To
	}
	hash.Sum(key.auths[:0])
	return key
}

// flight is one pull under way, or one that has ended and whose result no caller has collected.
type flight struct {
	key     flightKey
	id      uint64 // distinguishes it from the others of the process
	pod     string // that asked first; may be empty
	queued  time.Time
	started atomic.Pointer[time.Time] // nil while it waits for its turn
	ended   chan struct{}             // closed when err is final
	err     error
	bytes   int64 // of the image, if it was pulled and the runtime reports them
	isNew   bool  // it was pulled and was not on the node before
	proof   bool  // the image was on the node when it began, so it only checks access

	ctx    context.Context //nolint:containedctx // of the pull, which outlives its callers
	cancel context.CancelFunc

	// Guarded by Puller.mu.
	askers   int             // callers that wait for it now
	left     time.Time       // when the last one left
	dropped  bool            // set when it was ended because there were none
	notified map[string]bool // pods that have had an event about it
}

func (f *flight) begin(now time.Time) { f.started.Store(&now) }

// join returns the pull of a reference for a request, and starts it if there is none. The caller must wait for it. A proof
// is about an image that is on the node.
func (p *Puller) join(r Request, reference string, proof bool) *flight {
	key := keyOf(r, reference)
	p.mu.Lock()
	defer p.mu.Unlock()
	f, ok := p.flights[key]
	if !ok {
		p.flown++
		f = &flight{key: key, id: p.flown, pod: r.For, queued: time.Now(), ended: make(chan struct{}), proof: proof, notified: map[string]bool{}}
		f.ctx, f.cancel = context.WithCancel(p.ctx)
		p.flights[key] = f
		p.done.Go(func() { p.fly(f, r) })
	}
	f.ask()
	return f
}

// collect returns the result of a pull. Callers that wait get it, and the first one that comes later; the next one pulls
// again. An image that was pulled and turned out too large is not pulled again at each try.
func (p *Puller) collect(f *flight) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !tooLarge(f.err) {
		p.forget(f)
	}
	return f.err
}

// fly runs the pull and keeps its result for a while, for the next try if no caller waits now.
func (p *Puller) fly(f *flight, r Request) {
	p.observe(Observer.PullQueued)
	log := p.config.Logger.With("image", f.key.image, "pod", r.For) // the first that asked; others may join
	log.Info("pulling image", "credentials", len(r.Auths), "providers", r.Provided != nil)
	if panicked := recoverpanic.Guard(log, "a pull", func() error {
		f.err = p.abandonment(f, p.run(f, r))
		return nil
	}); panicked != nil {
		f.err = &Error{Kind: Defect, Image: f.key.image, text: "image " + f.key.image + " could not be pulled: " + panicked.Error(), cause: panicked}
	}
	f.cancel()
	now := time.Now()
	took := now.Sub(f.queued)
	p.observe(func(o Observer) { o.PullEnded(p.ending(f, now)) })
	if f.err != nil {
		log.Warn("pull failed", "took", took.String(), "error", f.err)
	} else {
		log.Info("image pulled", "took", took.String())
	}

	p.mu.Lock()
	defer p.mu.Unlock()
	close(f.ended)
	retention := p.config.Retention
	if tooLarge(f.err) {
		retention = p.config.RefusalRetention
	}
	time.AfterFunc(retention, func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.forget(f)
	})
}

// forget needs p.mu.
func (p *Puller) forget(f *flight) {
	if p.flights[f.key] == f {
		delete(p.flights, f.key)
	}
}

// resultOf returns "OK" or a Kind.
func resultOf(err error) string {
	var e *Error
	switch {
	case err == nil:
		return "OK"
	case errors.As(err, &e):
		return string(e.Kind)
	default:
		return string(Unknown)
	}
}
