package served

import (
	"context"
	"fmt"
	"slices"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/predicate"

	"github.com/image-csi/image-csi-operator/internal/operator/render"
	"github.com/image-csi/image-csi-operator/internal/operator/status"
)

// +kubebuilder:rbac:groups=admissionregistration.k8s.io,resources=validatingadmissionpolicies;validatingadmissionpolicybindings,verbs=list;watch

// listedWithin is how long the first list of the admission policies may take. After this, the policies count as unreadable.
const listedWithin = 30 * time.Second

// Policies knows which of the admission policies that matter to drivers exist. An API server may not serve that
// kind, so it asks before it begins to watch. Drivers are reconciled one at a time, so it needs no lock.
type Policies struct {
	watcher
	// began is when the first look was, and asked when the API server last answered whether it serves the kinds.
	began, asked time.Time
	served       bool
	informers    []cache.Informer
}

// NewPolicies sets up a cache that the manager starts. wake has a controller woken by changes of the policies that matter.
func NewPolicies(mgr ctrl.Manager, now clock.PassiveClock, wake Watch) (*Policies, error) {
	watcher, err := newWatcher(mgr, now, wake, cache.Options{DefaultTransform: trimPolicy})
	return &Policies{watcher: watcher}, err
}

// Look returns what is known of the policies, and when to look again if that is nothing yet. A failure to learn about them
// does not block the driver.
func (p *Policies) Look(ctx context.Context) (seen status.Policies, pending time.Duration) {
	if p.began.IsZero() {
		p.began = p.clock.Now()
	}
	err := p.learn(ctx)
	if err == nil && !p.served {
		return status.Policies{State: status.PoliciesNotServed}, 0
	}
	if err == nil && p.synced() {
		if seen, err = p.read(ctx); err == nil {
			return seen, 0
		}
	}
	if err != nil {
		log.FromContext(ctx).Error(err, "Cannot find out which admission policies the cluster has")
	}
	if p.clock.Since(p.began) >= listedWithin {
		seen.State = status.PoliciesUnreadable
	}
	return seen, p.nextLook(p.began)
}

// learn asks whether the kinds are served, and begins to watch their objects, unless that was done already. A server that
// did not serve them is asked again at some later look: it may have been upgraded.
func (p *Policies) learn(ctx context.Context) (err error) {
	if !p.served && (p.asked.IsZero() || p.clock.Since(p.asked) >= askAgainAfter) {
		if p.served, err = p.serves(ctx, admissionv1.SchemeGroupVersion, "validatingadmissionpolicies"); err != nil {
			return err
		}
		p.asked = p.clock.Now()
	}
	kinds := []client.Object{&admissionv1.ValidatingAdmissionPolicy{}, &admissionv1.ValidatingAdmissionPolicyBinding{}}
	for p.served && len(p.informers) < len(kinds) {
		informer, err := p.watch(ctx, kinds[len(p.informers)])
		if err != nil || informer == nil {
			return err
		}
		p.informers = append(p.informers, informer)
	}
	return nil
}

func (p *Policies) synced() bool {
	return len(p.informers) > 0 && !slices.ContainsFunc(p.informers, func(i cache.Informer) bool { return !i.HasSynced() })
}

func (p *Policies) read(ctx context.Context) (status.Policies, error) {
	seen := status.Policies{State: status.PoliciesRead}
	var policy admissionv1.ValidatingAdmissionPolicy
	err := p.objects.Get(ctx, client.ObjectKey{Name: status.ImagesPolicy}, &policy)
	if client.IgnoreNotFound(err) != nil {
		return status.Policies{}, fmt.Errorf("read ValidatingAdmissionPolicy %s: %w", status.ImagesPolicy, err)
	}
	if err == nil {
		seen.Images = &policy
	}
	var bindings admissionv1.ValidatingAdmissionPolicyBindingList
	if err := p.objects.List(ctx, &bindings); err != nil {
		return status.Policies{}, fmt.Errorf("list ValidatingAdmissionPolicyBindings: %w", err)
	}
	seen.Bindings = bindings.Items
	return seen, nil
}

// Find returns a policy or binding as it is on the server; nil if there is none, or if they are not known.
func (p *Policies) Find(ctx context.Context, object render.Object) (render.Object, error) {
	live, is := object.DeepCopyObject().(render.Object)
	if !is || !p.synced() {
		return nil, nil
	}
	if err := p.objects.Get(ctx, client.ObjectKeyFromObject(object), live); err != nil {
		if client.IgnoreNotFound(err) == nil {
			return nil, nil
		}
		return nil, fmt.Errorf("look for %s %s: %w", render.KindOf(object), object.GetName(), err)
	}
	return live, nil
}

// matters reports whether an object is a policy that matters to drivers, or a binding of one.
func matters(object client.Object) bool {
	if binding, is := object.(*admissionv1.ValidatingAdmissionPolicyBinding); is {
		return binding.Spec.PolicyName == status.ImagesPolicy || binding.Name == render.GuardName
	}
	return object.GetName() == status.ImagesPolicy || object.GetName() == render.GuardName
}

// PolicyChanges lets through events about the policies that matter, and about bindings that are or were theirs.
func PolicyChanges() predicate.Predicate {
	out := predicate.NewPredicateFuncs(matters)
	out.UpdateFunc = func(e event.UpdateEvent) bool { return matters(e.ObjectOld) || matters(e.ObjectNew) }
	return out
}

// trimPolicy keeps only the metadata of policies and bindings that do not matter to drivers.
func trimPolicy(object any) (any, error) {
	switch object := object.(type) {
	case *admissionv1.ValidatingAdmissionPolicy:
		if !matters(object) {
			object.ManagedFields, object.Annotations, object.Spec, object.Status = nil, nil, admissionv1.ValidatingAdmissionPolicySpec{}, admissionv1.ValidatingAdmissionPolicyStatus{}
		}
	case *admissionv1.ValidatingAdmissionPolicyBinding:
		if !matters(object) {
			object.ManagedFields, object.Annotations, object.Spec = nil, nil, admissionv1.ValidatingAdmissionPolicyBindingSpec{}
		}
	}
	return object, nil
}
