package hostmount

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func TestReadFileReadsPlainFilesBeneathTheRootOnly(t *testing.T) {
	f := newFixture(t)
	dir := filepath.Join(f.config.Root, "records")
	outside := filepath.Join(t.TempDir(), "outside")
	for path, content := range map[string]string{filepath.Join(dir, "plain"): "content", filepath.Join(dir, "large"): strings.Repeat("x", 65), outside: "secret"} {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, target := range map[string]string{"link": outside, "inner": filepath.Join(dir, "plain")} {
		if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(dir, filepath.Join(f.config.Root, "linked")); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(filepath.Join(dir, "pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	read := func(path string) (string, error) {
		content, err := f.ReadFile(deadline(t), path, 64)
		return string(content), err
	}
	if got, err := read(filepath.Join(dir, "plain")); err != nil || got != "content" {
		t.Errorf("got %q, %v", got, err)
	}
	for _, missing := range []string{filepath.Join(dir, "none"), filepath.Join(f.config.Root, "none", "none")} {
		if _, err := read(missing); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %v", missing, err)
		}
	}
	for _, path := range []string{filepath.Join(dir, "link"), filepath.Join(dir, "inner"), filepath.Join(dir, "large"), filepath.Join(dir, "pipe"),
		dir, filepath.Join(f.config.Root, "linked", "plain"), outside, dir + "/../records/plain"} {
		if got, err := read(path); err == nil || errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %q, %v", path, got, err)
		}
	}
}
