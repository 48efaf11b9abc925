// Package escapes lists what somebody may try who has taken over a thread of a node plugin.
package escapes
