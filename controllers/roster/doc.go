// Package roster keeps what the operator has to know of every node, in little memory, and for each driver the numbers of
// quiet nodes, so that a change of one node costs the same in a cluster of any size.
package roster
