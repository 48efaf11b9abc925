// Package olm checks the bundle and its catalog with the programs that others judge them by: the operator framework's opm and its
// scorecard, which go.mod pins with the Operator Lifecycle Manager that "make test-olm" runs.
package olm
