package command

import (
	"errors"
	"fmt"
)

// ExitCode is the program's exit code.
type ExitCode int

// The exit codes. Scripts depend on them, so they never change.
const (
	// ExitWell: all is well.
	ExitWell ExitCode = 0
	// ExitFinding: something was found that needs action.
	ExitFinding ExitCode = 1
	// ExitUsage: the command line is wrong.
	ExitUsage ExitCode = 2
	// ExitCluster: the cluster was not reached, or does not permit what was asked.
	ExitCluster ExitCode = 3
	// ExitTimeout: what --wait waits for did not come.
	ExitTimeout ExitCode = 4
)

// errFinding ends a command whose output says what was found.
var errFinding = errors.New("something needs action")

// exitError is an error with an exit code of its own.
type exitError struct {
	code ExitCode
	err  error
}

func (e *exitError) Error() string { return e.err.Error() }

func (e *exitError) Unwrap() error { return e.err }

// usage returns an error about the command line.
func usage(format string, args ...any) error {
	return &exitError{ExitUsage, fmt.Errorf(format, args...)}
}

// codeOf returns an error's exit code. Errors without one are cobra's, about the command line.
func codeOf(err error) ExitCode {
	var coded *exitError
	switch {
	case err == nil:
		return ExitWell
	case errors.Is(err, errFinding):
		return ExitFinding
	case errors.As(err, &coded):
		return coded.code
	default:
		return ExitUsage
	}
}
