// Package bench measures how fast the node plugin mounts and how little it holds, and fails where a figure misses its
// threshold (thresholds.yaml). Speeds are compared, within one run, with the fewest system calls and runtime calls
// that give the same result. `make bench` runs it.
package bench
