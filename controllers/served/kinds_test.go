package served

import (
	"context"
	"errors"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/discovery"
	testclock "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/image-csi/image-csi-operator/internal/operator/render"
)

// servingAll is an API server that serves every optional kind.
type servingAll struct {
	discovery.ServerResourcesInterfaceWithContext
}

func (servingAll) ServerResourcesForGroupVersionWithContext(context.Context, string) (*metav1.APIResourceList, error) {
	out := &metav1.APIResourceList{}
	for _, kind := range render.OptionalKinds() {
		out.APIResources = append(out.APIResources, metav1.APIResource{Name: kind.Resource})
	}
	return out, nil
}

// definedAll has a definition of every optional kind, which does not change.
type definedAll struct{ client.Reader }

func (definedAll) Get(_ context.Context, key client.ObjectKey, object client.Object, _ ...client.GetOption) error {
	object.SetName(key.Name)
	object.SetUID("one")
	return nil
}

// unlistable is a cache of kinds whose objects the API server does not list: as with a broken conversion webhook.
type unlistable struct{ cache.Cache }

func (unlistable) GetInformer(context.Context, client.Object, ...cache.InformerGetOption) (cache.Informer, error) {
	return unsynced{}, nil
}

type unsynced struct{ cache.Informer }

func (unsynced) HasSynced() bool { return false }

func TestKindsThatCannotBeListedAreLookedAtAgainSoonHoweverLongItTakes(t *testing.T) {
	now := testclock.NewFakePassiveClock(time.Unix(1000, 0))
	kinds := &Kinds{
		watcher: watcher{
			objects: unlistable{}, wake: func(cache.Cache, client.Object) error { return nil }, discovery: servingAll{}, clock: now,
		},
		definitions: definedAll{}, known: map[render.OptionalKind]*knownKind{},
	}
	for _, step := range []struct{ after, pending time.Duration }{
		{0, firstWait}, {10 * time.Second, 10 * time.Second}, {6 * time.Hour, longestWait},
	} {
		now.SetTime(now.Now().Add(step.after))
		present, unclear, pending := kinds.Present(t.Context())
		if len(present) > 0 || len(unclear) != len(render.OptionalKinds()) || pending != step.pending {
			t.Errorf("after %s more: %d kinds are there, %d unclear, look again after %s, want after %s", step.after, len(present), len(unclear), pending, step.pending)
		}
	}
}

// listed is a cache of kinds whose objects it has.
type listed struct{ cache.Cache }

func (listed) GetInformer(context.Context, client.Object, ...cache.InformerGetOption) (cache.Informer, error) {
	return synced{}, nil
}

type synced struct{ cache.Informer }

func (synced) HasSynced() bool { return true }

// unreadable has definitions that cannot be read.
type unreadable struct{ client.Reader }

func (unreadable) Get(context.Context, client.ObjectKey, client.Object, ...client.GetOption) error {
	return errors.New("the cache does not answer")
}

func TestAKindWhoseDefinitionCannotBeReadStays(t *testing.T) {
	kinds := &Kinds{
		watcher: watcher{
			objects: listed{}, wake: func(cache.Cache, client.Object) error { return nil }, discovery: servingAll{},
			clock: testclock.NewFakePassiveClock(time.Unix(1000, 0)),
		},
		definitions: definedAll{}, known: map[render.OptionalKind]*knownKind{},
	}
	for _, definitions := range []client.Reader{definedAll{}, unreadable{}} {
		kinds.definitions = definitions
		if present, unclear, _ := kinds.Present(t.Context()); len(present) != len(render.OptionalKinds()) || len(unclear) > 0 {
			t.Errorf("%T: %d kinds are there, %d unclear", definitions, len(present), len(unclear))
		}
	}
}
