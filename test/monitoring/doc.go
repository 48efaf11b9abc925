// Package monitoring holds the alerts and the dashboard to Prometheus' own tools, and to the metrics that there are.
package monitoring
