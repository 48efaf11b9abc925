// Package wordstest holds tests that the readers of others' texts share.
package wordstest

import (
	"strings"
	"testing"
	"time"
)

// CostIsBounded fails a test if what it costs to read a text grows as the text does. The part fills the text, and prepare returns
// the reading of a text with that filling.
func CostIsBounded(t testing.TB, part string, prepare func(filling string) (read func())) {
	t.Helper()
	fastest := func(bytes int) time.Duration {
		read := prepare(strings.Repeat(part, bytes/len(part)))
		var least time.Duration
		for range 3 { // Other work on the machine has held up one of them least.
			began := time.Now()
			read()
			if took := time.Since(began); least == 0 || took < least {
				least = took
			}
		}
		return least
	}
	// 256 times the text; its cost grows by what is copied of it.
	if one, many := fastest(32<<10), fastest(8<<20); many > 50*max(one, time.Millisecond) {
		t.Errorf("%q, 8 MiB of it: %s, and 32 KiB: %s", part, many, one)
	}
}
