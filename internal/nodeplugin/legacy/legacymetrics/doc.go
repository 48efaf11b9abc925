// Package legacymetrics has the legacy driver's four metrics under its names, for dashboards and alerts that use them.
package legacymetrics
