package pull

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/distribution/reference"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/image-csi/image-csi-operator/internal/contract"
	"github.com/image-csi/image-csi-operator/internal/nodeplugin/imageaccess"
)

// authorize returns nil if a caller may have an image that is on the node. If the records do not show it, the runtime pulls the
// image once more, with the caller's credentials and in the caller's namespace. As the layers are there, that is a request for a
// manifest, and mirrors and the node's own registry settings apply as for any pull.
func (p *Puller) authorize(ctx context.Context, r Request, held *runtimeapi.Image) error {
	shown := imageaccess.Image{Repository: repositoryOf(r.Image), Digest: r.Digest}
	if shown.Digest == "" {
		shown.Digest = digestOf(r.Image, held)
	}
	if p.open(ctx, r, shown, held) {
		return nil
	}
	if r.Policy == contract.PullNever {
		return p.withPolicy(ctx, r, newError(Unproven, r.Image, nil))
	}
	reference := r.Image
	if shown.Digest != "" {
		// The name may mean a newer image at the registry, which IfNotPresent must not pull.
		reference = shown.Repository + "@" + shown.Digest
	}
	return p.withPolicy(ctx, r, unproven(p.wait(ctx, p.join(r, reference, true), r.For))) //nolint:contextcheck // as in Ensure
}

// withPolicy adds to an error that a namespace's policy may be the reason why the registry has to be asked.
func (p *Puller) withPolicy(ctx context.Context, r Request, err error) error {
	var e *Error
	if !errors.As(err, &e) || e.Kind == StillPulling || e.Kind == Untrusted || e.Kind == NotYours {
		return err
	}
	if _, policy := p.scope(ctx, r.Namespace); !policy {
		return err
	}
	return e.with("the node has, or may have, a signature policy for namespace " + r.Namespace + ", which needs the registry's answer once")
}

// open reports whether the records show that a caller may have an image that is on the node. held is nil if the runtime was not
// asked; then an image whose access depends on it is not open.
func (p *Puller) open(ctx context.Context, r Request, shown imageaccess.Image, held *runtimeapi.Image) bool {
	if p.config.Access == nil {
		return true
	}
	scope, policy := p.scope(ctx, r.Namespace)
	if policy && !p.config.Access.Given(shown, scope) {
		return false
	}
	caller := imageaccess.Caller{Scope: scope, Auths: r.Auths}
	if served := r.Provided.record(); served != nil {
		caller.Auths = append(slices.Clone(r.Auths), served)
	}
	verdict := p.config.Access.Verdict(shown, caller)
	return verdict.Opens(p.config.Verify) && (verdict == imageaccess.Proven || p.config.Verify == contract.NeverVerify || p.preloaded(ctx, shown, held))
}

// preloaded reports whether an image without records came with the node, or is open to every pod according to the kubelet's
// records: what the kubelet pulled with one tenant's secret is not for another.
func (p *Puller) preloaded(ctx context.Context, shown imageaccess.Image, held *runtimeapi.Image) bool {
	if p.config.Kubelet == nil {
		return true
	}
	if held == nil {
		return false // only the runtime knows the names by which the kubelet records it
	}
	refs := append([]string{held.GetId()}, held.GetRepoDigests()...)
	open, err := p.config.Kubelet.Open(ctx, shown.Repository, refs)
	if err != nil {
		p.config.Logger.Warn("the registry is asked for an image that may have been preloaded", "image", shown.Repository, "error", err)
	}
	return open
}

// scope returns where a proof of access counts: on the node, or in a namespace as long as its policy stays the same. It also
// reports whether the namespace has, or may have, a policy of its own. Then the runtime has to judge also an image that is on
// the node, and for volumes it does so only at a pull.
func (p *Puller) scope(ctx context.Context, namespace string) (scope string, policy bool) {
	if !p.config.Namespaced {
		return "", false
	}
	id, err := "", error(nil)
	if p.config.Policies != nil {
		id, err = p.config.Policies.Of(ctx, namespace)
	}
	switch {
	case err != nil:
		p.config.Logger.Debug("a namespace may have a signature policy", "namespace", namespace, "error", err)
		return namespace + "#?", true
	case p.config.Policies == nil:
		return namespace + "#?", true
	case id == "":
		return namespace, false
	}
	return namespace + "#" + id, true
}

// unproven turns the result of such a pull into an error about the image on the node.
func unproven(err error) error {
	var e *Error
	switch {
	case !errors.As(err, &e) || e.Kind == StillPulling:
		return err
	case e.Kind == Denied:
		refused := *e
		refused.Kind, refused.text = NotYours, newError(NotYours, e.Image, nil).text
		return &refused
	}
	text := "image " + e.Image + " is on this node, but whether this volume may use it could not be verified: " + e.text
	return &Error{Kind: e.Kind, Image: e.Image, text: text, cause: e.cause}
}

// repositoryOf returns an image's name without tag and digest. Registries grant access by repository (distribution spec,
// "Token Scope Documentation"), and so does KEP-2535.
func repositoryOf(image string) string {
	named, err := reference.ParseDockerRef(image)
	if err != nil {
		return image
	}
	return named.Name()
}

// digestOf returns the digest, in an image's own repository, of what the runtime holds under its name; empty if there is none.
func digestOf(image string, held *runtimeapi.Image) string {
	if _, digest, ok := strings.Cut(image, "@"); ok {
		return digest
	}
	if digests := digestsIn(repositoryOf(image), held); len(digests) > 0 {
		return digests[0]
	}
	return ""
}

// digestsIn returns the digests by which the runtime knows an image in a repository.
func digestsIn(repository string, held *runtimeapi.Image) []string {
	var digests []string
	for _, name := range held.GetRepoDigests() {
		if in, digest, ok := strings.Cut(name, "@"); ok && in == repository {
			digests = append(digests, digest)
		}
	}
	return digests
}
