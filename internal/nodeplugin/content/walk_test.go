package content

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/image-csi/image-csi-operator/internal/contract"
)

// capability is a file capability in the form of the attribute (capabilities(7), version 2): CAP_NET_RAW, permitted.
const capability = "\x00\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"

// makes are the ways to put something that may be refused into a directory.
var makes = map[contract.ImageContent]func(path string) error{
	contract.ContentSetIDFiles: func(path string) error {
		return errors.Join(os.WriteFile(path, nil, 0o755), unix.Chmod(path, 0o4755))
	},
	contract.ContentFileCapabilities: func(path string) error {
		return errors.Join(os.WriteFile(path, nil, 0o644), unix.Setxattr(path, "security.capability", []byte(capability), 0))
	},
	contract.ContentDeviceNodes: func(path string) error { return unix.Mknod(path, unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))) },
}

// needRoot skips a test that makes devices and capabilities; in CI that is a failure.
func needRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() == 0 {
		return
	}
	if os.Getenv("CI") != "" {
		t.Fatal("devices and file capabilities can be made by root only")
	}
	t.Skip("devices and file capabilities can be made by root only")
}

func must(t testing.TB, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

func open(t testing.TB, dir string) *os.File {
	t.Helper()
	root, err := os.Open(dir)
	must(t, err)
	t.Cleanup(func() { _ = root.Close() })
	return root
}

// harmless has what looks like something that gives rights, and gives none in the tree.
func harmless(t testing.TB) string {
	t.Helper()
	dir, outside := t.TempDir(), filepath.Join(t.TempDir(), "set-uid")
	must(t, makes[contract.ContentSetIDFiles](outside))
	must(t, os.Symlink(outside, filepath.Join(dir, "link")), os.Symlink(filepath.Dir(outside), filepath.Join(dir, "link-to-a-directory")),
		os.Symlink(".", filepath.Join(dir, "loop")), os.MkdirAll(filepath.Join(dir, "a/b/c"), 0o755),
		os.WriteFile(filepath.Join(dir, "a/b/program"), nil, 0o755), unix.Chmod(filepath.Join(dir, "a"), 0o3777),
		unix.Mkfifo(filepath.Join(dir, "a/pipe"), 0o666), os.WriteFile(filepath.Join(dir, "..."), nil, 0o600))
	return dir
}

func TestAWalkFindsEachKindWhereverItIs(t *testing.T) {
	needRoot(t)
	for kind, put := range makes {
		for _, name := range []string{"f", "a/b/c/f", "a/b/c/" + strings.Repeat("long-", 50), "a/b/two\nlines"} {
			t.Run(fmt.Sprintf("%s at %.10q", kind, name), func(t *testing.T) {
				dir := harmless(t)
				must(t, put(filepath.Join(dir, name)))
				found, err := walk(t.Context(), open(t, dir), bounds{maxEntries, maxDepth})
				must(t, err)
				path := found.first[kind]
				if len(found.first) != 1 || found.tooLarge != "" || len(path) > maxNamed+10 || strings.Contains(path, "\n") {
					t.Fatalf("found %+v", found)
				}
				if !strings.ContainsAny(name, "\n") && len(name) < 100 && path != fmt.Sprintf("%q", "/"+name) {
					t.Errorf("found %s", path)
				}
			})
		}
	}
}

func TestASetGroupIDFileIsFoundAsWell(t *testing.T) {
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, "f"), nil, 0o755), unix.Chmod(filepath.Join(dir, "f"), 0o2755))
	found, err := walk(t.Context(), open(t, dir), bounds{maxEntries, maxDepth})
	if err != nil || found.first[contract.ContentSetIDFiles] != `"/f"` {
		t.Errorf("found %+v (%v)", found, err)
	}
}

func TestAWalkFindsNothingInAHarmlessTree(t *testing.T) {
	found, err := walk(t.Context(), open(t, harmless(t)), bounds{maxEntries, maxDepth})
	if err != nil || len(found.first) != 0 || found.tooLarge != "" {
		t.Errorf("found %+v (%v)", found, err)
	}
}

// A hostile image has many files, or deep directories. What was found by then counts.
func TestAWalkEndsAtItsBounds(t *testing.T) {
	const depth, entries = 20, 1000
	in := func(dir string, levels int) string {
		return filepath.Join(dir, filepath.FromSlash(strings.Repeat("d/", levels)))
	}
	dir := t.TempDir()
	must(t, os.MkdirAll(in(dir, depth), 0o755), makes[contract.ContentSetIDFiles](filepath.Join(in(dir, depth), "f")))
	found, err := walk(t.Context(), open(t, dir), bounds{entries, depth})
	if err != nil || found.tooLarge != "" || len(found.first) != 1 {
		t.Errorf("as deep as may be: %+v (%v)", found, err)
	}
	must(t, os.MkdirAll(in(dir, depth+1), 0o755))
	if found, err := walk(t.Context(), open(t, dir), bounds{entries, depth}); err != nil || !strings.Contains(found.tooLarge, "20 deep") {
		t.Errorf("deeper: %+v (%v)", found, err)
	}
	wide := t.TempDir()
	for i := range entries {
		must(t, os.WriteFile(filepath.Join(wide, fmt.Sprint(i)), nil, 0o644))
	}
	if found, err := walk(t.Context(), open(t, wide), bounds{entries, depth}); err != nil || found.tooLarge != "" {
		t.Errorf("as many as may be: %+v (%v)", found, err)
	}
	must(t, os.WriteFile(filepath.Join(wide, "more"), nil, 0o644))
	if found, err := walk(t.Context(), open(t, wide), bounds{entries, depth}); err != nil || !strings.Contains(found.tooLarge, "1000 files") {
		t.Errorf("more: %+v (%v)", found, err)
	}
}

func TestAWalkLeavesNoFileOpenAndEndsWithItsContext(t *testing.T) {
	count := func() int {
		entries, err := os.ReadDir("/proc/self/fd")
		must(t, err)
		return len(entries)
	}
	dir := harmless(t)
	root, before := open(t, dir), count()
	if _, err := walk(t.Context(), root, bounds{maxEntries, maxDepth}); err != nil || count() != before {
		t.Errorf("%d files are open, and %d were (%v)", count(), before, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := walk(ctx, open(t, dir), bounds{maxEntries, maxDepth}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

// "Cannot tell" is no "no".
func TestATreeThatCannotBeReadIsAnError(t *testing.T) {
	dir := t.TempDir()
	file, err := os.Create(filepath.Join(dir, "no-directory"))
	must(t, err)
	defer file.Close()
	if found, err := walk(t.Context(), file, bounds{maxEntries, maxDepth}); !errors.Is(err, ErrUnreadable) {
		t.Errorf("found %+v (%v)", found, err)
	}
	gone := filepath.Join(dir, "gone")
	must(t, os.Mkdir(gone, 0o755))
	root := open(t, gone)
	must(t, os.Remove(gone))
	if found, err := walk(t.Context(), root, bounds{maxEntries, maxDepth}); !errors.Is(err, ErrUnreadable) {
		t.Errorf("found %+v (%v)", found, err)
	}
}

// BenchmarkWalk tells what a look through 10,000 files costs whose directories the kernel has in memory.
func BenchmarkWalk(b *testing.B) {
	dir := b.TempDir()
	for i := range 10_000 {
		parent := filepath.Join(dir, fmt.Sprintf("usr/share/%d", i/100))
		if i%100 == 0 {
			must(b, os.MkdirAll(parent, 0o755))
		}
		must(b, os.WriteFile(filepath.Join(parent, fmt.Sprint(i)), nil, 0o644))
	}
	for b.Loop() {
		root, err := os.Open(dir)
		must(b, err)
		_, err = walk(b.Context(), root, bounds{maxEntries, maxDepth})
		must(b, err, root.Close())
	}
}
