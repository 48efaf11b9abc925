// Package metrics holds the node plugin's Prometheus metrics, in a registry of their own.
package metrics
