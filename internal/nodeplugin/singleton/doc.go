// Package singleton makes sure that only one process of a driver works on a node, by a lock on a file in the driver's directory.
package singleton
