// Package storm tests the operator's program when the API server is away, when it is killed, and when clocks are wrong.
package storm
