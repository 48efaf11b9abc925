package cached

import (
	"net/http"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"
)

// Mapper returns a mapper that knows the resources of the cache's kinds, and asks the API server for those of others. So an
// operator that starts while the API server is away waits for it. Otherwise it would end, and be restarted after ever longer
// pauses.
func Mapper(scheme *runtime.Scheme, options cache.Options) func(*rest.Config, *http.Client) (meta.RESTMapper, error) {
	return func(config *rest.Config, client *http.Client) (meta.RESTMapper, error) {
		known := meta.NewDefaultRESTMapper(nil)
		for object, by := range options.ByObject {
			kind, err := apiutil.GVKForObject(object, scheme)
			if err != nil {
				return nil, err
			}
			scope := meta.RESTScopeRoot
			if by.Namespaces != nil {
				scope = meta.RESTScopeNamespace
			}
			known.Add(kind, scope)
		}
		others, err := apiutil.NewDynamicRESTMapper(config, client)
		return meta.FirstHitRESTMapper{MultiRESTMapper: meta.MultiRESTMapper{known, others}}, err
	}
}
