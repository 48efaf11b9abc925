// Package security says with which privileges the node plugin of a node class runs.
package security
