package registry

import (
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

func TestPrivateRepositoriesOpenToTheirOwnerOnly(t *testing.T) {
	server := serve(t, t.TempDir())
	image, err := random.Image(100, 1)
	if err != nil {
		t.Fatal(err)
	}
	as := func(user, password string) remote.Option {
		return remote.WithAuth(&authn.Basic{Username: user, Password: password})
	}
	ref := reference(t, server, "private/alice/app:1")
	if err := remote.Write(ref, image); err == nil {
		t.Error("a stranger may push")
	}
	if err := remote.Write(ref, image, as("alice", Password("alice"))); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		option remote.Option
		opens  bool
	}{
		"the owner":            {as("alice", Password("alice")), true},
		"a wrong password":     {as("alice", Password("bob")), false},
		"another user":         {as("bob", Password("bob")), false},
		"nobody in particular": {remote.WithAuth(authn.Anonymous), false},
	} {
		if _, err := remote.Head(ref, c.option); (err == nil) != c.opens {
			t.Errorf("%s: %v", name, err)
		}
	}
}
