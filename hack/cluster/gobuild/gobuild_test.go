package gobuild

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

func TestAProgramIsBuiltWhereItIsWantedAlthoughItRunsThere(t *testing.T) {
	to := filepath.Join(t.TempDir(), "program")
	build := func() {
		t.Helper()
		if err := Program(t.Context(), ".", "./testdata/waits", to, "-ldflags=-X main.said=hello"); err != nil {
			t.Fatal(err)
		}
	}
	build()
	first := exec.Command(to)
	var out bytes.Buffer
	first.Stdout = &out
	stdin, err := first.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := first.Start(); err != nil {
		t.Fatal(err)
	}
	build()
	if err := stdin.Close(); err != nil {
		t.Fatal(err)
	}
	if err := first.Wait(); err != nil {
		t.Error(err)
	}
	if got := out.String(); got != "hello\n" {
		t.Errorf("the program printed %q: the flags of the linker did not reach it", got)
	}
}

func TestWhatCannotBeBuiltSaysWhy(t *testing.T) {
	to := filepath.Join(t.TempDir(), "program")
	err := Program(t.Context(), ".", "./testdata/missing", to)
	if err == nil || !bytes.Contains([]byte(err.Error()), []byte("missing")) {
		t.Errorf("built what is not there: %v", err)
	}
	if _, err := os.Stat(to); err == nil {
		t.Error("something is where the program was to be")
	}
}
