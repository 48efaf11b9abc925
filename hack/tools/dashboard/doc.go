// Command dashboard writes the Grafana dashboard, config/dashboard/dashboard.json, from one table of panels: what each is called, what
// it asks Prometheus, and from which value on it warns. Grafana's own library makes the JSON of it.
package main
