package pull

import (
	"context"
	"errors"
	"slices"
	"strings"
	"syscall"

	"github.com/distribution/reference"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// authorize tells whether a caller may have an image that is on the node. Where the records do not say so, the runtime
// pulls what it holds once more, with the caller's credentials: the layers are there, so that is a request for a
// manifest, and mirrors and the node's own registry settings count as they do for any pull.
func (p *Puller) authorize(ctx context.Context, r Request, held *runtimeapi.Image) error {
	if p.open(r) {
		return nil
	}
	if r.Policy == Never {
		return newError(Unproven, r.Image, nil)
	}
	return unproven(p.wait(ctx, p.join(r, exactly(r.Image, repositoryOf(r.Image), held)))) //nolint:contextcheck // as in Ensure
}

// open tells whether the records show that a caller may have an image that is on the node.
func (p *Puller) open(r Request) bool {
	if p.config.Access == nil {
		return true
	}
	known := r.Auths
	if served := r.Provided.record(); served != nil {
		known = append(slices.Clone(known), served)
	}
	return p.config.Verify.Open(p.config.Access.Verdict(repositoryOf(r.Image), known))
}

// unproven says what the end of such a pull means for the image on the node.
func unproven(err error) error {
	var e *Error
	switch {
	case !errors.As(err, &e) || e.Kind == StillPulling:
		return err
	case e.Kind == Denied:
		return newError(NotYours, e.Image, e.cause).with(e.hint)
	}
	text := "image " + e.Image + " is on this node, but whether this volume may use it could not be verified: " + e.text
	return &Error{Kind: e.Kind, Image: e.Image, text: text, cause: e.cause}
}

// repositoryOf is an image's name without tag and digest. Registries grant access by repository (distribution spec,
// "Token Scope Documentation"), and so does KEP-2535.
func repositoryOf(image string) string {
	named, err := reference.ParseDockerRef(image)
	if err != nil {
		return image
	}
	return named.Name()
}

// exactly is the reference, by digest, of what the runtime holds under an image's name. The name itself may mean
// something newer at the registry, which IfNotPresent must not bring.
func exactly(image, repository string, held *runtimeapi.Image) string {
	if strings.Contains(image, "@") {
		return image
	}
	for _, digested := range held.GetRepoDigests() {
		if strings.HasPrefix(digested, repository+"@") {
			return digested
		}
	}
	return image
}

// note is what the access records were told when a pull began.
type note struct {
	repository string
	end        func(undone bool)
}

// noteBegin marks the repository before a pull that may need credentials brings anything.
func (p *Puller) noteBegin(image string, credentials bool) (note, error) {
	n := note{repository: repositoryOf(image), end: func(bool) {}}
	if p.config.Access == nil || !credentials {
		return n, nil
	}
	end, err := p.config.Access.Begin(n.repository)
	if err != nil {
		kind := Defect
		if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
			kind = NoSpace
		}
		return note{}, &Error{Kind: kind, Image: image, text: "image " + image + " is not pulled: " + err.Error(), cause: err}
	}
	n.end = end
	return n, nil
}

// noteEnd records which credential the registry took; nil is none, or one that everyone has.
func (p *Puller) noteEnd(ctx context.Context, n note, taken *runtimeapi.AuthConfig, pullErr error) {
	if p.config.Access == nil {
		return
	}
	if pullErr != nil {
		n.end(broughtNothing(pullErr))
		return
	}
	if err := p.config.Access.Grant(n.repository, taken); err != nil {
		p.config.Logger.Warn("the registry will be asked again for every volume", "repository", n.repository, "error", err)
	}
	n.end(false)
	if err := p.config.Access.Prune(func() (map[string]bool, error) { return p.repositories(ctx) }); err != nil {
		p.config.Logger.Warn("access records of images that are gone stay", "error", err)
	}
}

// broughtNothing tells whether a pull that failed certainly left no image. Where the runtime did not answer, it may
// have gone on.
func broughtNothing(err error) bool {
	var e *Error
	return errors.As(err, &e) && (e.Kind == Denied || e.Kind == NotFound || e.Kind == Unreachable || e.Kind == RateLimited)
}

// repositories are those with an image on the node.
func (p *Puller) repositories(ctx context.Context) (map[string]bool, error) {
	ctx, cancel := context.WithTimeout(ctx, statusTimeout)
	defer cancel()
	images, err := p.runtime.all(ctx)
	if err != nil {
		return nil, err
	}
	held := map[string]bool{}
	for _, image := range images {
		for _, names := range [][]string{image.GetRepoTags(), image.GetRepoDigests()} {
			for _, name := range names {
				held[repositoryOf(name)] = true
			}
		}
	}
	return held, nil
}
