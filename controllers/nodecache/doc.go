// Package nodecache holds what the operator has to know of every node, in little memory, and counts the settled nodes of
// each driver. So a change of one node costs the same in a cluster of any size.
//
// A node has these shapes on its way to the rules:
//   - node: trimmed by TrimNode in the informer. Only this package reads it, in an entry with its registration and pods.
//   - Facts: made of an entry for one driver, with a typed Node. controllers read them, and package settled their parts.
//   - placement.Node: made of a typed Node by a driver's plan. It has the node's class and the wanted one, for the labels.
//   - status.Node: a placement.Node with registrations and users. controllers make it of Facts; the status is made from it.
//   - rollout.Node: made of a typed Node and its registrations when controllers fill a class. Only package rollout reads it.
package nodecache
