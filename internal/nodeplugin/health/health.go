package health

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/image-csi/image-csi-operator/internal/contract"
)

// checkTimeout bounds a readiness probe; the kubelet's default probe timeout is one second, so a DaemonSet sets more.
const checkTimeout = 3 * time.Second

// Check is one condition of readiness. Ready returns nil, or a sentence that names what is missing.
type Check interface {
	Ready(ctx context.Context) error
}

// CheckFunc is a function as a Check.
type CheckFunc func(ctx context.Context) error

// Ready calls f.
func (f CheckFunc) Ready(ctx context.Context) error { return f(ctx) }

// Checks is readiness: all of its checks.
type Checks []Check

// Ready runs every check and joins what is missing.
func (c Checks) Ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	var missing []error
	for _, check := range c {
		missing = append(missing, check.Ready(ctx))
	}
	return errors.Join(missing...)
}

// NewServer returns the HTTP server for an address, with timeouts. Liveness means only that the process answers: a restart of
// this process does not fix another one.
func NewServer(address string, ready Check, metrics http.Handler) *http.Server {
	ready = recently(ready)
	mux := http.NewServeMux()
	mux.Handle("GET "+contract.MetricsPath, metrics)
	mux.HandleFunc("GET "+contract.LivenessPath, func(w http.ResponseWriter, _ *http.Request) {
		_, _ = fmt.Fprintln(w, "ok")
	})
	mux.HandleFunc("GET "+contract.ReadinessPath, func(w http.ResponseWriter, r *http.Request) {
		if err := ready.Ready(r.Context()); err != nil {
			http.Error(w, "not ready: "+strings.ReplaceAll(err.Error(), "\n", "; "), http.StatusServiceUnavailable)
			return
		}
		_, _ = fmt.Fprintln(w, "ok")
	})
	return &http.Server{
		Addr:              address,
		Handler:           mux,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       5 * time.Second,
		WriteTimeout:      30 * time.Second,
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    16 << 10,
	}
}
