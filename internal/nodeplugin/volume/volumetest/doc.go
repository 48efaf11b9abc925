// Package volumetest has a node for tests: what volumes are mounted with, in memory, with faults.
package volumetest
