package main

import (
	"fmt"
	"time"
)

// steps prints what the demo does, and when.
type steps struct {
	started time.Time
}

func (s steps) say(format string, args ...any) {
	fmt.Printf("[%6.1fs] %s\n", time.Since(s.started).Seconds(), fmt.Sprintf(format, args...))
}
