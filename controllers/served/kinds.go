package served

import (
	"context"
	"fmt"
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/predicate"

	"github.com/image-csi/image-csi-operator/internal/operator/recheck"
	"github.com/image-csi/image-csi-operator/internal/operator/render"
)

// +kubebuilder:rbac:groups=apiextensions.k8s.io,resources=customresourcedefinitions,verbs=list;watch
// +kubebuilder:rbac:groups=monitoring.coreos.com,namespace=image-csi-system,resources=podmonitors;prometheusrules,verbs=list;watch;create;patch;delete
// +kubebuilder:rbac:groups=security.openshift.io,resources=securitycontextconstraints,verbs=list;watch;create;patch;delete
// +kubebuilder:rbac:groups=security-profiles-operator.x-k8s.io,resources=seccompprofiles,verbs=list;watch;create;patch;delete

// servedWithin is how long after a change of its definition a kind may take to be served. A definition that is in error, or
// that serves other versions only, never is: after this the kind counts as absent, until its definition changes again.
const servedWithin = 10 * time.Second

// Kinds knows which of the kinds that a cluster may lack are there, and holds the drivers' objects of those. It
// asks the API server at the start, and again when a definition is added, changed or deleted. Drivers are reconciled one at a
// time, so it needs no lock.
type Kinds struct {
	watcher
	// definitions reads the metadata of CustomResourceDefinitions from the cache.
	definitions client.Reader
	// known is empty at the start.
	known map[render.OptionalKind]*knownKind
}

// NewKinds sets up a cache of the objects with some labels, which the manager starts. wake has a controller woken by their changes.
func NewKinds(mgr ctrl.Manager, namespace string, with labels.Selector, now clock.PassiveClock, wake Watch) (*Kinds, error) {
	watcher, err := newWatcher(mgr, now, wake, cache.Options{
		DefaultNamespaces: map[string]cache.Config{namespace: {}}, DefaultLabelSelector: with,
	})
	return &Kinds{watcher: watcher, definitions: mgr.GetClient(), known: map[render.OptionalKind]*knownKind{}}, err
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
func (k *Kinds) Present(ctx context.Context) (kinds, unclear []render.OptionalKind, pending time.Duration) {
	for _, kind := range render.OptionalKinds() {
		known := k.recall(ctx, kind)
		if err := k.learn(ctx, kind, known); err != nil {
			log.FromContext(ctx).Error(err, "Cannot find out whether the cluster has a kind", "kind", kind.Kind)
		}
		if known.isPresent() {
			kinds = append(kinds, kind)
		} else if known.expected {
			pending = recheck.Sooner(pending, k.nextLook(known.since))
			unclear = append(unclear, kind)
		}
	}
	return kinds, unclear, pending
}

// recall returns what is known of a kind. If its definition has changed, only the watch of its objects is kept; if the
// definition was replaced by another, nothing is. A definition that cannot be read has not changed.
func (k *Kinds) recall(ctx context.Context, kind render.OptionalKind) *knownKind {
	current, err := k.definition(ctx, kind)
	if err != nil {
		log.FromContext(ctx).Error(err, "Cannot read the definition of a kind", "kind", kind.Kind)
	}
	known, found := k.known[kind]
	if found && (err != nil || known.definition == current) {
		return known
	}
	next := &knownKind{definition: current, since: k.clock.Now(), expected: current.uid != "" || !found}
	if found && known.definition.uid == current.uid {
		next.informer = known.informer
	} else if found {
		k.unwatch(ctx, kind, known)
	}
	k.known[kind] = next
	return next
}

// unwatch ends the watch of a kind's objects, if there is one.
func (k *Kinds) unwatch(ctx context.Context, kind render.OptionalKind, known *knownKind) {
	if known.informer == nil {
		return
	}
	if err := k.objects.RemoveInformer(ctx, untyped(kind)); err != nil {
		log.FromContext(ctx).Error(err, "Cannot end the watch of a kind that is gone", "kind", kind.Kind)
	}
	known.informer = nil
}

// definition returns which definition a kind has: none if it is on its way out, because no objects can be made of that.
func (k *Kinds) definition(ctx context.Context, kind render.OptionalKind) (definition, error) {
	found := DefinitionMetadata()
	if err := k.definitions.Get(ctx, client.ObjectKey{Name: kind.Definition()}, found); err != nil {
		return definition{}, client.IgnoreNotFound(err)
	}
	if !found.DeletionTimestamp.IsZero() {
		return definition{}, nil
	}
	return definition{uid: found.UID, version: found.ResourceVersion}, nil
}

// learn asks whether a kind is served and begins to watch its objects, unless that was done already.
func (k *Kinds) learn(ctx context.Context, kind render.OptionalKind, known *knownKind) (err error) {
	if !known.served && known.expected {
		late := k.clock.Since(known.since) >= servedWithin
		if known.served, err = k.serves(ctx, kind.GroupVersion(), kind.Resource); err != nil {
			return err
		}
		known.expected = known.served || (known.definition.uid != "" && !late)
	}
	if !known.expected {
		k.unwatch(ctx, kind, known)
	}
	if !known.served || known.informer != nil {
		return nil
	}
	known.informer, err = k.watch(ctx, untyped(kind))
	return err
}

// List returns a driver's objects of some kinds.
func (k *Kinds) List(ctx context.Context, kinds []render.OptionalKind, ours client.MatchingLabels) ([]render.Object, error) {
	var out []render.Object
	for _, kind := range kinds {
		list := &unstructured.UnstructuredList{}
		list.SetGroupVersionKind(kind.GroupVersion().WithKind(kind.Kind + "List"))
		if err := k.objects.List(ctx, list, ours); err != nil {
			return nil, fmt.Errorf("list the driver's objects (%s): %w", kind.Kind, err)
		}
		for i := range list.Items {
			out = append(out, &list.Items[i])
		}
	}
	return out, nil
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
