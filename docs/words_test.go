package docs_test

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// oldWord is a phrase that the repository no longer uses.
type oldWord struct {
	// phrase is a regular expression that begins with plain letters, by which it is found fast. A space in it stands for any gap
	// between two words: also for a line end with the next line's comment sign, or for the seam of two Go strings. One with a capital
	// letter is a part of identifiers; any other is whole words in small or capital letters.
	phrase string
	// instead is what to write, and why the reason.
	instead, why string
	// in is the extension of the files that the entry is about; empty for all.
	in string
	// except is the name of a file that may have the word.
	except string
}

// oldWords are what docs/glossary.md and the field's own terms have replaced.
func oldWords() []oldWord {
	const (
		oneName  = "warm-metal's driver has one name here"
		searched = "that is what people search for"
		plain    = "plain English is read faster"
		gone     = "the package has another name"
	)
	return []oldWord{
		{phrase: `drivers? of before`, instead: "the legacy driver", why: oneName},
		{phrase: `driver that exists today`, instead: "the legacy driver", why: oneName},
		{phrase: `existing drivers?`, instead: "the legacy driver", why: oneName},
		{phrase: `earlier drivers?`, instead: "the legacy driver", why: oneName},
		{phrase: `OfBefore`, instead: "a name with legacy in it", why: oneName},
		{phrase: `warm metal`, instead: "the legacy driver, or warm-metal", why: "a search finds it by its own spelling"},
		{phrase: `Returning`, instead: "RollingBack", why: "that is the phase of a rollback", except: "CHANGELOG.md"},
		{phrase: `Returned`, instead: "RolledBack", why: "that is the phase of a rollback", except: "CHANGELOG.md"},
		{phrase: `being taken back`, instead: "being rolled back", why: searched},
		{phrase: `change (?:is|was) taken back`, instead: "change is rolled back", why: searched},
		{phrase: `needs a person`, instead: "needs action, or no action needed", why: "the reader wants to know whether to act"},
		{phrase: `mend(?:s|ed|ing)?`, instead: "fix, repair or recover", why: searched},
		{phrase: `carr(?:y|ies|ied) out`, instead: "reconcile, apply or do", why: searched},
		{phrase: `carryOut`, instead: "reconcile, apply or do", why: searched},
		{phrase: `of before`, instead: "earlier, or previous", why: plain},
		{phrase: `change is on its way`, instead: "a rollout is in progress", why: searched},
		{phrase: `on its way to the nodes`, instead: "a rollout is in progress", why: searched},
		{phrase: `whatever its container runtime`, instead: "on nodes with containerd and CRI-O alike", why: plain},
		{phrase: `(?:tries|starts) again by itself`, instead: "automatically", why: plain},
		{phrase: `nothing is to be done`, instead: "no action needed", why: plain},
		{phrase: `than a context lives`, instead: "than its context", why: plain},
		{phrase: `by whose clock`, instead: "whose time", why: plain},
		{phrase: `answers to persons`, instead: "what people read", why: plain},
		{phrase: `(?:are|is) found out at`, instead: "shows at", why: plain},
		{phrase: `threads kept for it`, instead: "threads of its own", why: plain},
		{phrase: `nobody released`, instead: "that was not released", why: plain},
		{phrase: `which goes before`, instead: "which takes precedence", why: searched},
		{phrase: `lest`, instead: "so that … not", why: plain},
		{phrase: `dear`, instead: "expensive", why: plain},
		{phrase: `fares?`, instead: "is, works or counts", why: plain},
		{phrase: `most often`, instead: "usually", why: plain},
		{phrase: `is said to`, instead: "the subject and what it does", why: plain},
		{phrase: `// \w+ (?:says|tells) (?:that|whether|if)`, instead: "reports whether, or the plain verb", why: "that is Go's convention", in: ".go"},
		{phrase: `package claims`, instead: "conflicts", why: gone},
		{phrase: `operator/(?:claims|quiet|usage)`, instead: "conflicts, settled or volumeuse", why: gone},
		{phrase: `nodeplugin/(?:keyed|defect|access)`, instead: "keylock, recoverpanic or imageaccess", why: gone},
		{phrase: `controllers/roster`, instead: "controllers/nodecache", why: gone},
	}
}

// search finds an old word.
type search struct {
	oldWord
	expression *regexp.Regexp
	isName     bool
}

func newSearch(word oldWord) search {
	return search{
		oldWord:    word,
		expression: regexp.MustCompile(strings.ReplaceAll(word.phrase, " ", `[\s"+/#*]+`)),
		isName:     regexp.MustCompile(`[A-Z]`).MatchString(word.phrase),
	}
}

// lines returns the numbers of the lines on which the word begins. Lower is the text in small letters.
func (s search) lines(path string, text, lower []byte) (lines []int) {
	if s.in != "" && s.in != filepath.Ext(path) || s.except == filepath.Base(path) {
		return nil
	}
	if !s.isName {
		text = lower
	}
	inside := regexp.MustCompile(`^\w\w$`)
	for _, at := range s.expression.FindAllIndex(text, -1) {
		begin, end := at[0], at[1]
		partOfAWord := begin > 0 && inside.Match(text[begin-1:begin+1]) || end < len(text) && inside.Match(text[end-1:end+1])
		if s.isName || !partOfAWord {
			lines = append(lines, 1+bytes.Count(text[:begin], []byte("\n")))
		}
	}
	return lines
}

func TestNoOldWordIsLeft(t *testing.T) {
	var searches []search
	for _, word := range oldWords() {
		searches = append(searches, newSearch(word))
	}
	files := 0
	err := filepath.WalkDir("..", func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && (entry.Name() == ".git" || entry.Name() == "bin"):
			return filepath.SkipDir
		case entry.IsDir() || path == filepath.Join("..", "docs", "words_test.go"):
			return nil
		case !slices.Contains([]string{".go", ".md", ".yaml", ".yml", ".json", ".sh", ".txt", ".tpl", ".conf", ".toml", ""}, filepath.Ext(path)):
			return nil
		}
		text, err := os.ReadFile(path)
		lower := bytes.ToLower(text)
		for _, s := range searches {
			for _, line := range s.lines(path, text, lower) {
				t.Errorf("%s:%d has %q: write %s, because %s", path, line, s.phrase, s.instead, s.why)
			}
		}
		files++
		return err
	})
	if err != nil || files < 500 {
		t.Fatalf("looked at %d files: %v", files, err)
	}
}

func TestAnOldWordIsFoundAcrossLinesAndStrings(t *testing.T) {
	for _, c := range []struct {
		word       oldWord
		path, text string
		lines      []int
	}{
		{oldWord{phrase: `plugins? of yore`}, "a.md", "A Plugin of yore.", []int{1}},
		{oldWord{phrase: `plugins? of yore`}, "a.md", "\nThe plugins\nof yore, the plugin of\n  yore", []int{2, 3}},
		{oldWord{phrase: `plugins? of yore`}, "a.go", "// A plugin of\n\t// yore.", []int{1}},
		{oldWord{phrase: `plugins? of yore`}, "a.go", "x := \"the plugin \" +\n\t\"of yore\"", []int{1}},
		{oldWord{phrase: `plugins? of yore`}, "a.yaml", "# a plugin\n# of yore", []int{1}},
		{oldWord{phrase: `plugins? of yore`}, "a.md", "A plugin of yores, aplugin of yore, plugin, of yore.", nil},
		{oldWord{phrase: `OfYore`}, "a.go", "pluginOfYore, OfYores, ofyore", []int{1, 1}},
		{oldWord{phrase: `// \w+ tells whether`, in: ".go"}, "a.go", "\n// is tells whether it is.", []int{2}},
		{oldWord{phrase: `// \w+ tells whether`, in: ".go"}, "a.go", "// is returns what tells whether it is.", nil},
		{oldWord{phrase: `// \w+ tells whether`, in: ".go"}, "a.md", "// is tells whether it is.", nil},
		{oldWord{phrase: `OfYore`, except: "b.md"}, "dir/b.md", "OfYore", nil},
	} {
		lines := newSearch(c.word).lines(c.path, []byte(c.text), []byte(strings.ToLower(c.text)))
		if fmt.Sprint(lines) != fmt.Sprint(c.lines) {
			t.Errorf("%q in %s %q: on lines %v, want %v", c.word.phrase, c.path, c.text, lines, c.lines)
		}
	}
}
