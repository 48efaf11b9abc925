// Package status turns what was observed of a driver into its status: conditions, counts and a sample of problem
// nodes, in words for the cluster's administrator.
package status
