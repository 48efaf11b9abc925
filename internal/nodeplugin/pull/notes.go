package pull

import (
	"context"
	"errors"
	"slices"
	"strings"
	"syscall"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/image-csi/image-csi-operator/internal/nodeplugin/imageaccess"
)

// note is what the access records hold about the beginning of a pull.
type note struct {
	repository, scope string

	pull *imageaccess.Pull // nil if no credentials are used

	before []string // digests of the repository that the node held
	listed bool     // reports whether before is known
}

// noteBegin marks the repository before a pull that may use credentials brings an image.
func (p *Puller) noteBegin(ctx context.Context, key flightKey, credentials bool) (note, error) {
	n := note{repository: repositoryOf(key.image)}
	n.scope, _ = p.scope(ctx, key.namespace)
	// Where the namespace counts, the runtime may have credentials for it that are not known here.
	if p.config.Access == nil || (!credentials && !p.config.Namespaced) {
		return n, nil
	}
	held, err := p.repositories(ctx)
	n.before, n.listed = held[n.repository], err == nil // what is not known to be there was not
	n.pull, err = p.config.Access.Begin(n.repository, n.before)
	if err != nil {
		kind := Defect
		if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
			kind = NoSpace
		}
		return note{}, &Error{Kind: kind, Image: key.image, text: "image " + key.image + " is not pulled: " + err.Error(), cause: err}
	}
	return n, nil
}

// noteRefusal revokes the grants of a credential that the registry refuses; nil is anonymous.
func (p *Puller) noteRefusal(n note, auth *runtimeapi.AuthConfig, refusal error) {
	if p.config.Access == nil {
		return
	}
	var err error
	switch {
	case isKind(refusal, Denied):
		err = p.config.Access.Refuse(n.repository, n.scope, auth)
	case isKind(refusal, Untrusted):
		err = p.config.Access.Distrust(n.repository, n.scope)
	}
	if err != nil {
		p.config.Logger.Warn("a refused credential could not be removed from the access records", "repository", n.repository, "error", err)
	}
}

// noteBrought records which credential the registry accepted for which image; nil is anonymous, or a credential that every
// pod has. held is what the runtime holds now under the reference, nil if that is not known.
func (p *Puller) noteBrought(ctx context.Context, n note, key flightKey, taken *runtimeapi.AuthConfig, held *runtimeapi.Image) {
	if p.config.Access == nil {
		return
	}
	digests := digestsIn(n.repository, held)
	if _, digest, ok := strings.Cut(key.reference, "@"); ok {
		digests = append(digests, digest)
	}
	err := p.config.Access.Grant(n.repository, digests, n.scope, taken)
	if err != nil {
		p.config.Logger.Warn("the registry will be asked again for every volume", "repository", n.repository, "error", err)
	}
	switch {
	case n.pull == nil:
	case err != nil || len(digests) == 0:
		n.pull.Unanswered()
	default:
		n.pull.Brought()
	}
	p.prune(ctx)
}

// noteFailed records that a pull ended in an error. before is what the node held under the name that was pulled, if that is
// known.
func (p *Puller) noteFailed(ctx context.Context, n note, reference string, before *runtimeapi.Image, known bool, failure error) {
	if n.pull == nil {
		return
	}
	isKnown, brought := false, []string(nil)
	if answered(failure) {
		var err error
		brought, err = p.brought(ctx, n, reference, before, known)
		isKnown = err == nil
	}
	if isKnown {
		n.pull.Failed(brought)
	} else {
		n.pull.Unanswered()
	}
	p.prune(ctx)
}

// brought returns the digests that the node holds after a pull and may not have held before. Where it is not known which it
// held, they are those of the name that was pulled: a pull brings no others, and what was there before stays as it was.
func (p *Puller) brought(ctx context.Context, n note, reference string, before *runtimeapi.Image, known bool) ([]string, error) {
	var after []string
	switch {
	case n.listed || !known:
		held, err := p.repositories(ctx)
		if err != nil {
			return nil, err
		}
		after = held[n.repository]
	default:
		held, err := p.held(ctx, reference)
		if err != nil {
			return nil, err
		}
		n.before, after = digestsIn(n.repository, before), digestsIn(n.repository, held)
	}
	return slices.DeleteFunc(after, func(digest string) bool { return slices.Contains(n.before, digest) }), nil
}

// answered reports whether an error of a pull is the runtime's own answer. Without an answer the pull may go on.
func answered(err error) bool {
	var e *Error
	if !errors.As(err, &e) || e.Kind == RuntimeDown {
		return false
	}
	switch status.Code(e.cause) {
	case codes.Canceled, codes.DeadlineExceeded, codes.Internal:
		return false // gRPC has these codes also for a call that it gave up
	}
	return true
}

// prune drops the records of images that are gone.
func (p *Puller) prune(ctx context.Context) {
	if err := p.config.Access.Prune(func() (map[string][]string, error) { return p.repositories(ctx) }); err != nil {
		p.config.Logger.Warn("access records of images that are gone could not be removed", "error", err)
	}
}

// repositories are those with an image on the node, with the digests of their images, empty where there is none.
func (p *Puller) repositories(ctx context.Context) (map[string][]string, error) {
	ctx, cancel := context.WithTimeout(ctx, statusTimeout)
	defer cancel()
	images, err := p.runtime.all(ctx)
	if err != nil {
		return nil, err
	}
	held := map[string][]string{}
	for _, image := range images {
		for _, name := range image.GetRepoTags() {
			if repository := repositoryOf(name); len(digestsIn(repository, image)) == 0 {
				held[repository] = append(held[repository], "")
			}
		}
		for _, name := range image.GetRepoDigests() {
			if repository, digest, ok := strings.Cut(name, "@"); ok {
				held[repository] = append(held[repository], digest)
			}
		}
	}
	return held, nil
}
