// Package recoverpanic turns a panic into an error of the work that met it, because the process serves all volumes of a
// node and must not end with one of them.
package recoverpanic

import (
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
)

// errPanicked is all that anyone but the log is told.
var errPanicked = errors.New("the node plugin met a defect of its own; its log tells more")

// Guard runs f and returns its error. If f panics, the stack goes to the log and no further.
func Guard(log *slog.Logger, what string, f func() error) (err error) {
	defer func() {
		if cause := recover(); cause != nil {
			log.Error("a panic was caught; please report this", "in", what, "panic", fmt.Sprint(cause), "stack", string(debug.Stack()))
			err = errPanicked
		}
	}()
	return f()
}
