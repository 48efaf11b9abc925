// Package security defines the privileges with which the node plugin of a node class runs.
package security
