// Package keylock provides a lock for each key. A wait for one ends with the caller's context.
package keylock
