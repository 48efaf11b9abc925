// Package installation runs the operator's program on a real API server with the operator's installation: its rights and
// its admission policies. No controller runs there.
package installation
