// Package health serves the node plugin's liveness, readiness and metrics over HTTP.
package health
