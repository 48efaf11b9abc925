// Package picture draws panels of the Grafana dashboard from query results, as SVG: what a panel asks, in its place, with its words and
// colours. It is for a look at real data where there is no Grafana, and for docs.
package picture
