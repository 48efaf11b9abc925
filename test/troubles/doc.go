// Package troubles makes what goes wrong happen on a real cluster, and wants `kubectl imagecsi` or one page to name the cause and a
// cure that works.
package troubles
