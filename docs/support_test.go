package docs_test

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// testFiles is the text of all files with tests.
func testFiles(t *testing.T) []byte {
	t.Helper()
	var all bytes.Buffer
	err := filepath.WalkDir("..", func(path string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		all.Write(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all.Bytes()
}

func TestWhatTheSupportPageCallsTestedNamesTestsThatAreThere(t *testing.T) {
	all, makefile := testFiles(t), page(t, "../Makefile")
	named := regexp.MustCompile("`(Test\\w+|make [\\w-]+)`")
	tested := 0
	for line := range strings.Lines(page(t, "support.md")) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), " | ")
		if !strings.HasPrefix(line, "| ") || len(cells) < 3 {
			continue
		}
		state, by := strings.TrimSpace(cells[len(cells)-2]), cells[len(cells)-1]
		found := named.FindAllStringSubmatch(by, -1)
		if strings.HasPrefix(state, "tested") {
			if tested++; len(found) == 0 {
				t.Errorf("no test holds the row %s", line)
			}
		}
		for _, name := range found {
			target, isTarget := strings.CutPrefix(name[1], "make ")
			switch {
			case isTarget && !strings.Contains(makefile, "\n"+target+":"):
				t.Errorf("the Makefile has no target %s", target)
			case !isTarget && !bytes.Contains(all, []byte("func "+name[1]+"(t *testing.T)")):
				t.Errorf("no test is %s", name[1])
			}
		}
	}
	if tested < 12 {
		t.Errorf("%d rows are tested", tested)
	}
}
