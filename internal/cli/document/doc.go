// Package document holds the versioned documents that `kubectl imagecsi` writes as JSON and YAML, and prints them as tables. A table
// shows what its document holds and nothing else.
package document
