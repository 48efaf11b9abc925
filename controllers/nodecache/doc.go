// Package nodecache holds what the operator has to know of every node, in little memory, and counts the settled nodes of
// each driver. So a change of one node costs the same in a cluster of any size.
package nodecache
