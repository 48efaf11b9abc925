package controllers

import (
	"strings"
	"testing"
	"unicode/utf8"
)

func TestALongTextIsCutBetweenCharacters(t *testing.T) {
	for _, text := range []string{strings.Repeat("a", 2000), strings.Repeat("é", 2000), "a" + strings.Repeat("é", 2000)} {
		got := shortened(text)
		if len(got) < 990 || len(got) > 1000 || !utf8.ValidString(got) || !strings.HasPrefix(text, got) {
			t.Errorf("%d bytes: %q", len(got), got)
		}
	}
	if got := shortened("short"); got != "short" {
		t.Errorf("got %q", got)
	}
}
