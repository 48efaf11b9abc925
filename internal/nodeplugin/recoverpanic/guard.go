// Package recoverpanic turns a panic into an error of the work that met it, because the process serves all volumes of a
// node and must not end with one of them.
package recoverpanic

import (
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
)

// errPanicked is the error for callers; only the log has the details.
var errPanicked = errors.New("the node plugin has a defect; its log has the details")

// Guard runs f and returns its error. If f panics, it returns an error without details, and logs the stack.
func Guard(log *slog.Logger, what string, f func() error) (err error) {
	defer func() {
		if cause := recover(); cause != nil {
			log.Error("a panic was caught; please report this", "in", what, "panic", fmt.Sprint(cause), "stack", string(debug.Stack()))
			err = errPanicked
		}
	}()
	return f()
}
