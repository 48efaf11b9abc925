package served

import (
	"context"
	"fmt"
	"slices"
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/client-go/discovery"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/predicate"

	"github.com/image-csi/image-csi-operator/internal/operator/render"
)

// +kubebuilder:rbac:groups=apiextensions.k8s.io,resources=customresourcedefinitions,verbs=list;watch
// +kubebuilder:rbac:groups=monitoring.coreos.com,namespace=image-csi-system,resources=podmonitors;prometheusrules,verbs=list;watch;create;patch;delete
// +kubebuilder:rbac:groups=security.openshift.io,resources=securitycontextconstraints,verbs=list;watch;create;patch;delete
// +kubebuilder:rbac:groups=security-profiles-operator.x-k8s.io,resources=seccompprofiles,verbs=list;watch;create;patch;delete

// servedWithin is how long after a change of its definition a kind may take to be served. A definition that is in error, or
// that serves other versions only, never is: after this the kind counts as absent, until its definition changes again.
const servedWithin = 10 * time.Second

// firstWait is after how long to ask again for what is not known yet. The longer it takes, the longer the next wait.
const firstWait = 100 * time.Millisecond

// Watch has a controller woken by changes of the objects of a kind in a cache.
type Watch func(objects cache.Cache, kind client.Object) error

// Kinds knows which of the kinds that a cluster may lack are there, and holds the drivers' objects of those. It
// asks the API server at the start, and again when a definition is added, changed or deleted. Drivers are reconciled one at a
// time, so it needs no lock.
type Kinds struct {
	// definitions reads the metadata of CustomResourceDefinitions from the cache.
	definitions client.Reader
	// objects is a cache of their own, because the manager's cannot be set up for kinds that are not there.
	objects cache.Cache
	// watch has the controller woken by changes of the objects of a kind.
	watch Watch

	discovery discovery.ServerResourcesInterfaceWithContext
	clock     clock.PassiveClock
	// known is empty at the start.
	known map[render.OptionalKind]*knownKind
}

// knownKind is what is known of a kind since its definition changed.
type knownKind struct {
	definition definition
	since      time.Time
	// expected is whether the API server may serve the kind: there is a definition, or it was not asked yet. Older
	// OpenShift serves its constraints from an API server of its own, without a definition.
	expected bool
	served   bool
	informer cache.Informer
}

// definition is a version of a kind's definition; empty if there is none.
type definition struct {
	uid     types.UID
	version string
}

func (k *knownKind) isPresent() bool { return k.served && k.informer != nil && k.informer.HasSynced() }

// Present returns the kinds that are served, those for which this is not clear yet, and when to look again for these. The API
// server serves a kind a moment after its definition was added, and the first list of its objects takes a moment. A failure
// to learn about a kind does not block the driver.
func (o *Kinds) Present(ctx context.Context) (kinds, unclear []render.OptionalKind, pending time.Duration) {
	for _, kind := range render.OptionalKinds() {
		known := o.recall(ctx, kind)
		if err := o.learn(ctx, kind, known); err != nil {
			log.FromContext(ctx).Error(err, "Cannot find out whether the cluster has a kind", "kind", kind.Kind)
		}
		if known.isPresent() {
			kinds = append(kinds, kind)
		} else if known.expected {
			// The longer it has taken, the longer it may take.
			if wait := max(firstWait, o.clock.Since(known.since)); pending == 0 || wait < pending {
				pending = wait
			}
			unclear = append(unclear, kind)
		}
	}
	return kinds, unclear, pending
}

// recall returns what is known of a kind. If its definition has changed, only the watch of its objects is kept; if the
// definition was replaced by another, nothing is.
func (o *Kinds) recall(ctx context.Context, kind render.OptionalKind) *knownKind {
	now := o.definition(ctx, kind)
	known, found := o.known[kind]
	if found && known.definition == now {
		return known
	}
	next := &knownKind{definition: now, since: o.clock.Now(), expected: now.uid != "" || !found}
	if found && known.definition.uid == now.uid {
		next.informer = known.informer
	} else if found {
		o.unwatch(ctx, kind, known)
	}
	o.known[kind] = next
	return next
}

// unwatch ends the watch of a kind's objects, if there is one.
func (o *Kinds) unwatch(ctx context.Context, kind render.OptionalKind, known *knownKind) {
	if known.informer == nil {
		return
	}
	if err := o.objects.RemoveInformer(ctx, untyped(kind)); err != nil {
		log.FromContext(ctx).Error(err, "Cannot end the watch of a kind that is gone", "kind", kind.Kind)
	}
	known.informer = nil
}

// definition returns which definition a kind has: none if it is on its way out, because no objects can be made of that.
func (o *Kinds) definition(ctx context.Context, kind render.OptionalKind) definition {
	found := DefinitionMetadata()
	err := o.definitions.Get(ctx, client.ObjectKey{Name: kind.Definition()}, found)
	if client.IgnoreNotFound(err) != nil {
		log.FromContext(ctx).Error(err, "Cannot read the definition of a kind", "kind", kind.Kind)
	}
	if err != nil || !found.DeletionTimestamp.IsZero() {
		return definition{}
	}
	return definition{uid: found.UID, version: found.ResourceVersion}
}

// learn asks whether a kind is served and begins to watch its objects, unless that was done already.
func (o *Kinds) learn(ctx context.Context, kind render.OptionalKind, known *knownKind) (err error) {
	if !known.served && known.expected {
		late := o.clock.Since(known.since) >= servedWithin
		if known.served, err = serves(ctx, o.discovery, kind.GroupVersion(), kind.Resource); err != nil {
			return err
		}
		known.expected = known.served || known.definition.uid != "" && !late
	}
	if !known.expected {
		o.unwatch(ctx, kind, known)
	}
	if !known.served || known.informer != nil {
		return nil
	}
	// Do not wait here: a kind whose objects cannot be listed must not block the driver.
	informer, err := o.objects.GetInformer(ctx, untyped(kind), cache.BlockUntilSynced(false))
	if meta.IsNoMatchError(err) {
		return nil // Another of the API servers does not serve it yet.
	}
	if err != nil {
		return err
	}
	if err := o.watch(o.objects, untyped(kind)); err != nil {
		return err
	}
	known.informer = informer
	return nil
}

// serves asks an API server whether it serves a resource in a version.
func serves(ctx context.Context, server discovery.ServerResourcesInterfaceWithContext, version schema.GroupVersion, resource string) (bool, error) {
	found, err := server.ServerResourcesForGroupVersionWithContext(ctx, version.String())
	if err != nil {
		return false, client.IgnoreNotFound(err)
	}
	return slices.ContainsFunc(found.APIResources, func(r metav1.APIResource) bool { return r.Name == resource }), nil
}

// List returns a driver's objects of some kinds.
func (o *Kinds) List(ctx context.Context, kinds []render.OptionalKind, ours client.MatchingLabels) ([]render.Object, error) {
	var out []render.Object
	for _, kind := range kinds {
		list := &unstructured.UnstructuredList{}
		list.SetGroupVersionKind(kind.GroupVersion().WithKind(kind.Kind + "List"))
		if err := o.objects.List(ctx, list, ours); err != nil {
			return nil, fmt.Errorf("list the driver's objects (%s): %w", kind.Kind, err)
		}
		for i := range list.Items {
			out = append(out, &list.Items[i])
		}
	}
	return out, nil
}

// NewKinds sets up a cache of the objects with some labels, which the manager starts. watch has a controller woken by their changes.
func NewKinds(mgr ctrl.Manager, namespace string, with labels.Selector, now clock.PassiveClock, watch Watch) (*Kinds, error) {
	objects, err := cache.New(mgr.GetConfig(), cache.Options{
		HTTPClient:           mgr.GetHTTPClient(),
		Scheme:               mgr.GetScheme(),
		Mapper:               mgr.GetRESTMapper(),
		DefaultNamespaces:    map[string]cache.Config{namespace: {}},
		DefaultLabelSelector: with,
	})
	if err != nil {
		return nil, fmt.Errorf("set up a cache for optional kinds: %w", err)
	}
	server, err := discovery.NewDiscoveryClientForConfigAndClient(mgr.GetConfig(), mgr.GetHTTPClient())
	if err != nil {
		return nil, fmt.Errorf("set up a client that asks for optional kinds: %w", err)
	}
	return &Kinds{
		definitions: mgr.GetClient(), objects: objects, discovery: server, clock: now, watch: watch,
		known: map[render.OptionalKind]*knownKind{},
	}, mgr.Add(objects)
}

func untyped(kind render.OptionalKind) *unstructured.Unstructured {
	object := &unstructured.Unstructured{}
	object.SetGroupVersionKind(kind.GroupVersionKind)
	return object
}

// DefinitionMetadata is the metadata of a CustomResourceDefinition, by which a kind is known to come and go.
func DefinitionMetadata() *metav1.PartialObjectMetadata {
	object := &metav1.PartialObjectMetadata{}
	object.SetGroupVersionKind(apiextensionsv1.SchemeGroupVersion.WithKind("CustomResourceDefinition"))
	return object
}

// DefinitionChanges lets through events about the definitions of the optional kinds.
func DefinitionChanges() predicate.Predicate {
	names := sets.New[string]()
	for _, kind := range render.OptionalKinds() {
		names.Insert(kind.Definition())
	}
	return predicate.NewPredicateFuncs(func(object client.Object) bool { return names.Has(object.GetName()) })
}
