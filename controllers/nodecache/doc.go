// Package nodecache holds what the operator has to know of every node, in little memory, and counts the settled nodes of
// each driver. So a change of one node costs the same in a cluster of any size.
//
// A node has these shapes on its way to the rules:
//   - node: trimmed by TrimNode in the informer. Only this package reads it, in an entry with its registration and pods.
//   - Facts: made of an entry for one driver, with a typed Node. controllers read them, and package settled their parts.
//   - placement.Node: made of Facts by a driver's plan. All rules read it: labels, rollout and status.
package nodecache
