package served

import (
	"context"
	"fmt"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const (
	// firstWait is after how long to ask again for what is not known yet. The longer it takes, the longer the next wait.
	firstWait = 100 * time.Millisecond
	// longestWait bounds that wait: no event reports that a kind can be listed now if the driver has no object of it.
	longestWait = 30 * time.Second
)

// Watch has a controller woken by changes of the objects of a kind in a cache.
type Watch func(objects cache.Cache, kind client.Object) error

// watcher watches the objects of kinds that the API server may not serve.
type watcher struct {
	// objects is a cache of their own, because the manager's cannot be set up for kinds that are not there.
	objects   cache.Cache
	wake      Watch
	discovery discovery.ServerResourcesInterfaceWithContext
	clock     clock.PassiveClock
}

// newWatcher sets up a cache that the manager starts. The options need no more than what to keep.
func newWatcher(mgr ctrl.Manager, now clock.PassiveClock, wake Watch, keep cache.Options) (watcher, error) {
	keep.HTTPClient, keep.Scheme, keep.Mapper = mgr.GetHTTPClient(), mgr.GetScheme(), mgr.GetRESTMapper()
	objects, err := cache.New(mgr.GetConfig(), keep)
	if err != nil {
		return watcher{}, fmt.Errorf("set up a cache for kinds that the cluster may lack: %w", err)
	}
	server, err := discovery.NewDiscoveryClientForConfigAndClient(mgr.GetConfig(), mgr.GetHTTPClient())
	if err != nil {
		return watcher{}, fmt.Errorf("set up a client that asks which kinds the cluster has: %w", err)
	}
	return watcher{objects: objects, wake: wake, discovery: server, clock: now}, mgr.Add(objects)
}

// serves asks an API server whether it serves a resource in a version.
func (w *watcher) serves(ctx context.Context, version schema.GroupVersion, resource string) (bool, error) {
	found, err := w.discovery.ServerResourcesForGroupVersionWithContext(ctx, version.String())
	if err != nil {
		return false, client.IgnoreNotFound(err)
	}
	return slices.ContainsFunc(found.APIResources, func(r metav1.APIResource) bool { return r.Name == resource }), nil
}

// watch begins to watch the objects of a kind, and does not wait for them: a kind that cannot be listed must not block the driver.
// It returns nil if another of the API servers does not serve the kind yet.
func (w *watcher) watch(ctx context.Context, kind client.Object) (cache.Informer, error) {
	informer, err := w.objects.GetInformer(ctx, kind, cache.BlockUntilSynced(false))
	switch {
	case meta.IsNoMatchError(err):
		return nil, nil
	case err != nil:
		return nil, err
	}
	if err := w.wake(w.objects, kind); err != nil {
		return nil, err
	}
	return informer, nil
}

// nextLook returns when to look again for what has not been known since a time.
func (w *watcher) nextLook(since time.Time) time.Duration {
	return min(max(firstWait, w.clock.Since(since)), longestWait)
}
