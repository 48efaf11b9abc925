package hostmount

import (
	"os"
	"path/filepath"
	"testing"
)

func TestWriteFilePutsWholeFilesBeneathTheRootOnly(t *testing.T) {
	f := newFixture(t)
	dir := filepath.Join(f.config.Root, "seccomp", "ours")
	file := filepath.Join(dir, "profile.json")
	for _, content := range []string{"content", "less"} {
		if err := f.WriteFile(deadline(t), file, ".draft", []byte(content)); err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(file)
		stat, statErr := os.Stat(file)
		if err != nil || statErr != nil || string(got) != content || stat.Mode().Perm() != writtenMode {
			t.Errorf("the file holds %q with mode %v, want %q: %v, %v", got, stat.Mode(), content, err, statErr)
		}
		// What a killed process left is overwritten.
		if err := os.WriteFile(filepath.Join(dir, ".draft"), []byte("more than the content is"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	outside := t.TempDir()
	for name, target := range map[string]string{"linked": outside, "seccomp/.link": filepath.Join(outside, "file")} {
		if err := os.Symlink(target, filepath.Join(f.config.Root, name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(f.config.Root, "seccomp", "directory"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ file, draft string }{
		{filepath.Join(f.config.Root, "linked", "file"), ".draft"},
		{filepath.Join(f.config.Root, "seccomp", "file"), ".link"},
		{filepath.Join(f.config.Root, "seccomp", "directory"), ".draft"},
		{filepath.Join(outside, "file"), ".draft"},
		{dir + "/../../../file", ".draft"},
	} {
		if err := f.WriteFile(deadline(t), c.file, c.draft, []byte("content")); err == nil {
			t.Errorf("%s, by way of %s, is written", c.file, c.draft)
		}
	}
	if left, err := os.ReadDir(outside); err != nil || len(left) > 0 {
		t.Errorf("written outside the root: %v, %v", left, err)
	}
	if left, err := filepath.Glob(filepath.Join(f.config.Root, "seccomp", ".draft")); err != nil || len(left) > 0 {
		t.Errorf("a draft stays: %v, %v", left, err)
	}
	// A link in the file's own place is replaced, not followed.
	if err := os.Symlink(filepath.Join(outside, "file"), filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	if err := f.WriteFile(deadline(t), filepath.Join(dir, "link"), ".draft", []byte("content")); err != nil {
		t.Fatal(err)
	}
	if stat, err := os.Lstat(filepath.Join(dir, "link")); err != nil || !stat.Mode().IsRegular() {
		t.Errorf("in the link's place is %v, %v", stat, err)
	}
}
