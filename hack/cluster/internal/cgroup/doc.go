// Package cgroup gives each node a control group of its own in every hierarchy of the machine, version 1 or 2, and
// shows a node that group as if it were the root.
package cgroup
