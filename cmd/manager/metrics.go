package main

import (
	"crypto/tls"
	"net/http"

	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/metrics/filters"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"
)

// +kubebuilder:rbac:groups=authentication.k8s.io,resources=tokenreviews,verbs=create
// +kubebuilder:rbac:groups=authorization.k8s.io,resources=subjectaccessreviews,verbs=create

// reviewsPerSecond bounds how often the API server is asked who reads the metrics, and whether he may. It remembers a scraper for a
// minute; what strangers ask must not keep the operator from its work, because the API server counts both as the operator's.
const reviewsPerSecond = 5

// metricsOptions are those of the metrics' server. By default it serves by HTTPS, and only to those whom the API server knows by their
// token and lets get the path.
func metricsOptions(o options) metricsserver.Options {
	out := metricsserver.Options{BindAddress: o.metricsAddress, SecureServing: o.metricsSecure, CertDir: o.metricsCertPath}
	if o.metricsSecure {
		out.FilterProvider = reviewed
		// A scrape needs no HTTP/2, and a client that resets its streams makes it expensive.
		out.TLSOpts = []func(*tls.Config){func(config *tls.Config) { config.NextProtos = []string{"http/1.1"} }}
	}
	return out
}

// reviewed asks the API server about each reader, by TokenReview and SubjectAccessReview.
func reviewed(config *rest.Config, client *http.Client) (metricsserver.Filter, error) {
	config = rest.CopyConfig(config)
	config.RateLimiter, config.QPS, config.Burst = nil, reviewsPerSecond, 2*reviewsPerSecond
	return filters.WithAuthenticationAndAuthorization(config, client)
}
