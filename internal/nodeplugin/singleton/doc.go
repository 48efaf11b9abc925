// Package singleton keeps two processes of one driver on a node apart, by a lock on a file in the driver's directory.
package singleton
