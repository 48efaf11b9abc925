// Package keyed has a lock for each key, which is waited for no longer than a context lives.
package keyed
