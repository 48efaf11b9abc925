package pull

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// MaxCredentials is how many credentials of secrets are tried in one pull, and how many of the providers. Each try is a
// login from the node's address, one after the other, in a turn for which others wait.
const MaxCredentials = 16

// maxNamed is how many sources of credentials an error names.
const maxNamed = 4

// ofProviders is how errors name credentials of providers.
const ofProviders = "the node's credential providers"

// tries are the attempts of one pull, one credential after the other.
type tries struct {
	puller *Puller
	key    flightKey
	noted  note

	refused []string // the sources of the credentials that the registry refused, each once
	refusal error    // of the last credential
	last    error    // of the last attempt, with any credential
}

// pull tries every credential, then those of the providers, then none. It returns how the access records identify the one
// that the registry accepted; nil if the image is open to anyone.
func (t *tries) pull(ctx context.Context, r Request) (taken *runtimeapi.AuthConfig, err error) {
	taken, err = t.each(ctx, r.Auths, r.sourceOf)
	if taken != nil || err != nil {
		return taken, err
	}
	var failed error
	if r.Provided != nil {
		var auths []*runtimeapi.AuthConfig
		auths, failed = r.Provided.Ask(ctx)
		record := r.Provided.record()
		taken, err = t.each(ctx, auths, func(int) string { return ofProviders })
		switch {
		case err != nil:
			return nil, err
		case taken != nil:
			return record, nil
		case len(auths) > 0 && record != nil:
			t.puller.noteRefusal(t.noted, record, t.refusal)
		}
	}
	err = t.once(ctx, nil)
	if err != nil && t.refusal != nil {
		// A stale credential must not hide an image that anyone may pull. But the user can act on the answer to the
		// credential, so that one is returned.
		err = t.refusal
	}
	return nil, t.explain(err, r, failed)
}

// each tries credentials until the registry accepts one, and returns it; nil if it refuses all. Any other error ends it.
func (t *tries) each(ctx context.Context, auths []*runtimeapi.AuthConfig, source func(int) string) (taken *runtimeapi.AuthConfig, err error) {
	tried := 0
	for i, auth := range auths {
		if slices.ContainsFunc(auths[:i], func(earlier *runtimeapi.AuthConfig) bool { return proto.Equal(earlier, auth) }) {
			continue
		}
		tried++
		if tried > MaxCredentials {
			break
		}
		switch err := t.once(ctx, auth); {
		case err == nil:
			return auth, nil
		case !denied(err):
			return nil, err
		default:
			t.refusal = err
			if name := source(i); !slices.Contains(t.refused, name) {
				t.refused = append(t.refused, name)
			}
		}
	}
	return nil, nil
}

// once has the runtime pull with one credential, nil for none, and records a refusal.
func (t *tries) once(ctx context.Context, auth *runtimeapi.AuthConfig) error {
	err := t.puller.pullOnce(ctx, t.key, auth)
	t.last = err
	if err != nil {
		t.puller.noteRefusal(t.noted, auth, err)
	}
	return err
}

// explain adds to a refusal which credentials were refused, and what to do.
func (t *tries) explain(err error, r Request, failed error) error {
	var e *Error
	if !errors.As(err, &e) || e.Kind != Denied {
		return err
	}
	explained := newError(e.Kind, e.Image, nil)
	explained.detail, explained.cause = t.advice(r), e.cause
	if failed != nil {
		explained = explained.with(ofProviders + " did not help: " + failed.Error())
	}
	return explained
}

// advice names the sources of credentials, and never their content.
func (t *tries) advice(r Request) string {
	var b strings.Builder
	if len(t.refused) > 0 {
		fmt.Fprintf(&b, "it refused the credentials of %s, and a pull without any; check that they are valid and may read "+
			"this repository, and that the name is right", list(t.refused))
	} else {
		b.WriteString("it was asked without credentials, because there are none for it; check that the name is right, and have " +
			"nodePublishSecretRef name a secret with credentials for it")
	}
	if len(r.Unmatched) > 0 {
		fmt.Fprintf(&b, "; no entry for this registry: %s", list(r.Unmatched))
	}
	return b.String()
}

// list names the first few, and counts the rest.
func list(names []string) string {
	if more := len(names) - maxNamed; more > 0 {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:maxNamed], ", "), more)
	}
	return strings.Join(names, ", ")
}

// sourceOf returns where a credential comes from.
func (r Request) sourceOf(i int) string {
	if i < len(r.Sources) {
		return r.Sources[i]
	}
	return "the volume"
}
