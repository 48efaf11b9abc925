// Package settled identifies the nodes that need no action and have nothing to report. They are counted, not examined one
// by one, so a change of one node costs the same in a cluster of any size.
package settled
