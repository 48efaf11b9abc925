package recheck

import "time"

// Sooner returns the shorter of two times to wait; 0 is never.
func Sooner(a, b time.Duration) time.Duration {
	if a == 0 || (b != 0 && b < a) {
		return b
	}
	return a
}
