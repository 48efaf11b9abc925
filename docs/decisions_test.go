package docs_test

import (
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

func TestTheIndexHasEveryDecisionOnceByItsTitle(t *testing.T) {
	files, err := filepath.Glob("decisions/0*.md")
	if err != nil || len(files) == 0 {
		t.Fatal("no decisions", err)
	}
	index := page(t, "decisions/README.md")
	numbers := map[string]string{}
	for _, file := range files {
		number := filepath.Base(file)[:4]
		if other, taken := numbers[number]; taken {
			t.Errorf("%s and %s have one number", other, file)
		}
		numbers[number] = file
		title, _, _ := strings.Cut(page(t, file), "\n")
		if !regexp.MustCompile(`^# ` + number + `: `).MatchString(title) {
			t.Errorf("%s has the title %q, which does not begin with its number", file, title)
		}
		entry := "* [" + strings.TrimPrefix(title, "# ") + "](" + filepath.Base(file) + ")\n"
		if found := strings.Count(index, entry); found != 1 {
			t.Errorf("the index has %d times %q", found, entry)
		}
	}
	if entries := strings.Count(index, "\n* ["); entries != len(files) {
		t.Errorf("%d entries for %d decisions", entries, len(files))
	}
}
