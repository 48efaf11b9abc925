// Package quiet says on which nodes nothing is to be done and nothing to be told. They are counted, not looked at one by
// one, so that what happens on one node costs the same in a cluster of any size.
package quiet
