// Package clusters brings up clusters of real nodes with the operator installed, and speaks to them by kubectl and its plugin.
package clusters
