// Package recording keeps what real /metrics say over time in Prometheus' own database, and asks it by Prometheus' own engine.
package recording
