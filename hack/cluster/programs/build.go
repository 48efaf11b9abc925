package programs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/image-csi/image-csi-operator/hack/cluster/internal/flock"
)

// Ensure installs the Debian packages that are missing and builds the sets that the cache lacks, and reports progress to w. What has to be
// downloaded for later sets comes while the first ones are compiled. Interrupted at any point, it starts that set again the next time;
// two processes that want the same set build it once.
func Ensure(ctx context.Context, w io.Writer, packages []string, sets ...Set) error {
	missing, err := lacking(sets)
	if err != nil {
		return err
	}
	wanted := slices.Clone(packages)
	for _, s := range missing {
		wanted = append(wanted, s.needs...)
	}
	install, err := debianInstallation(ctx, w, wanted)
	if err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	installed := make(chan struct{})
	group.Go(func() error {
		defer close(installed)
		return install(ctx)
	})
	if len(missing) > 1 { // the first fetches its own
		group.Go(func() error { return fetch(ctx, missing[1:]) })
	}
	group.Go(func() error {
		for _, s := range missing {
			if len(s.needs)+len(s.debian) > 0 { // two of apt-get would be in each other's way
				<-installed
			}
			if err := ensure(ctx, w, s); err != nil {
				return fmt.Errorf("build %s: %w", s.Name, err)
			}
		}
		return nil
	})
	return group.Wait()
}

// lacking returns those of the sets that the cache does not have.
func lacking(sets []Set) ([]Set, error) {
	var missing []Set
	for _, s := range sets {
		dir, err := s.Dir()
		if err != nil {
			return nil, err
		}
		if _, err := os.Stat(dir); err != nil {
			missing = append(missing, s)
		}
	}
	return missing, nil
}

// Fetch downloads the Go modules of the sets that the cache lacks, so that a build of them waits for none.
func Fetch(ctx context.Context, sets ...Set) error {
	missing, err := lacking(sets)
	if err != nil {
		return err
	}
	return fetch(ctx, missing)
}

func fetch(ctx context.Context, missing []Set) error {
	for _, s := range missing {
		if len(s.packages) == 0 {
			continue // of Debian's programs
		}
		b, err := newBuild(ctx, io.Discard, s)
		if err != nil {
			return err
		}
		b.countPackages(slices.Sorted(maps.Keys(b.names()))) // a failure is one of the build, too, which reports it
	}
	return nil
}

func ensure(ctx context.Context, w io.Writer, s Set) error {
	dir, err := s.Dir()
	if err != nil {
		return err
	}
	if _, err := os.Stat(dir); err == nil {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return fmt.Errorf("make the cache directory: %w", err)
	}
	unlock, err := lock(dir + ".lock")
	if err != nil {
		return err
	}
	defer unlock()
	if _, err := os.Stat(dir); err == nil { // another process built it while this one waited
		return nil
	}
	scratch, err := os.MkdirTemp(filepath.Dir(dir), ".building-")
	if err != nil {
		return fmt.Errorf("make a build directory: %w", err)
	}
	defer os.RemoveAll(scratch)
	if err := os.Chmod(scratch, 0o755); err != nil {
		return err
	}
	b, err := newBuild(ctx, w, s)
	if err != nil {
		return err
	}
	if err := b.run(scratch); err != nil {
		return err
	}
	return os.Rename(scratch, dir)
}

// lock takes an exclusive lock that ends with the process at the latest.
func lock(path string) (unlock func(), err error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("open the cache's lock: %w", err)
	}
	if err := flock.Lock(file); err != nil {
		return nil, errors.Join(fmt.Errorf("lock %s: %w", path, err), file.Close())
	}
	return func() { file.Close() }, nil
}

// build is one build of one set.
type build struct {
	ctx     context.Context // ends the commands that the build runs
	out     io.Writer
	set     Set
	sources string
}

func newBuild(ctx context.Context, w io.Writer, s Set) (*build, error) {
	pins, err := pinsDir()
	if err != nil {
		return nil, err
	}
	return &build{ctx: ctx, out: w, set: s, sources: filepath.Join(pins, s.pin)}, nil
}

func (b *build) run(dir string) error {
	if len(b.set.debian) > 0 {
		return b.unpackDebian(dir)
	}
	if err := b.compile(dir); err != nil {
		return err
	}
	if b.set.extra != nil {
		return b.set.extra(b, dir)
	}
	return nil
}

// names are the programs' names by the package that builds them.
func (b *build) names() map[string][]string {
	names := map[string][]string{}
	for _, name := range slices.Sorted(maps.Keys(b.set.packages)) {
		pkg := b.set.packages[name]
		names[pkg] = append(names[pkg], name)
	}
	return names
}

// compile builds each package once and links the further names of its binary.
func (b *build) compile(dir string) error {
	names := b.names()
	packages := slices.Sorted(maps.Keys(names))
	bar := newProgress(b.out, "building "+b.set.Name, b.countPackages(packages))
	for _, pkg := range packages {
		binary := names[pkg][0]
		if len(names[pkg]) > 1 {
			binary = b.set.pin
		}
		if err := b.goBuild(pkg, filepath.Join(dir, binary), bar); err != nil {
			return err
		}
		for _, name := range names[pkg] {
			if name == binary {
				continue
			}
			if err := os.Symlink(binary, filepath.Join(dir, name)); err != nil {
				return err
			}
		}
	}
	bar.done()
	return nil
}

func (b *build) goBuild(pkg, output string, bar *progress) error {
	ldflags := append([]string{"-s", "-w"}, b.set.ldflags...)
	command := b.goCommand("build", "-v", "-trimpath", "-ldflags="+strings.Join(ldflags, " "),
		"-tags="+strings.Join(b.set.tags, ","), "-o", output, pkg)
	command.Stderr = bar
	if err := command.Run(); err != nil {
		return fmt.Errorf("go build %s: %w\n%s", pkg, err, bar.tail())
	}
	return nil
}

// countPackages is the number of packages a cold build compiles; 0 when it cannot be told.
func (b *build) countPackages(packages []string) int {
	out, err := b.goCommand(append([]string{"list", "-deps", "-tags=" + strings.Join(b.set.tags, ",")}, packages...)...).Output()
	if err != nil {
		return 0
	}
	return strings.Count(string(out), "\n")
}

// cFlags have C compiled as fast as the compiler can. Of all C that is built, which is SQLite for the most part, nothing is where nodes
// spend their time.
const cFlags = "CGO_CFLAGS=-O0 -g0"

func (b *build) goCommand(args ...string) *exec.Cmd {
	command := exec.CommandContext(b.ctx, "go", args...)
	command.Dir = b.sources
	cgo := "0"
	if b.set.cgo {
		cgo = "1"
	}
	command.Env = append(os.Environ(), "CGO_ENABLED="+cgo, cFlags, "GOFLAGS=-mod=readonly", "GOWORK=off")
	return command
}

// buildPinns compiles CRI-O's C helper from the same module as CRI-O itself.
func buildPinns(b *build, dir string) error {
	out, err := b.goCommand("list", "-m", "-f", "{{.Dir}}", "github.com/cri-o/cri-o").Output()
	if err != nil {
		return fmt.Errorf("find the sources of pinns: %w", err)
	}
	sources, err := filepath.Glob(filepath.Join(strings.TrimSpace(string(out)), "pinns", "src", "*.c"))
	if err != nil || len(sources) == 0 {
		return fmt.Errorf("find the sources of pinns: none in %s", strings.TrimSpace(string(out)))
	}
	args := append([]string{"-std=c99", "-Os", "-static", "-o", filepath.Join(dir, "pinns")}, sources...)
	if out, err := exec.CommandContext(b.ctx, "cc", args...).CombinedOutput(); err != nil {
		return fmt.Errorf("compile pinns: %w\n%s", err, out)
	}
	return nil
}
