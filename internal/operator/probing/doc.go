// Package probing decides on which nodes a sandbox is tried, by a short pod, and what the nodes' labels say of it. The labels are the
// only record: they end with the node, and an operator that starts again reads them.
package probing
