// Package migration says which ImageCSIDriver is equivalent to an installation of the legacy driver (warm-metal's container image
// CSI driver), value by value of its Helm chart.
package migration
