// Package leftover describes what the legacy driver keeps in a container runtime's store, and knows it by its names.
package leftover
