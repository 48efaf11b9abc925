package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// architectures are those that a release can be for, by Go's names and OCI's, which are the same here.
var architectures = []string{"amd64", "arm64"}

// release is what is made, from where and into which directory.
type release struct {
	root, dir           string
	version, repository string
	architectures       []string

	// desktops are the systems and architectures that kubectl imagecsi is built for, as linux/amd64; none leaves it out.
	desktops []string
}

var (
	versionForm = regexp.MustCompile(`^[0-9]+\.[0-9]+\.[0-9]+(-[0-9A-Za-z.-]+)?$`)

	// A port is a registry's, and a tag would follow the last slash.
	repositoryForm = regexp.MustCompile(`^[a-z0-9.-]+(:[0-9]+)?(/[a-z0-9._-]+)+$`)
)

func (r release) check() error {
	if !versionForm.MatchString(r.version) {
		return fmt.Errorf("%q is no version: give -version as in 1.2.3", r.version)
	}
	for _, architecture := range r.architectures {
		if !slices.Contains(architectures, architecture) {
			return fmt.Errorf("no release is for %q: give -architectures of %s", architecture, strings.Join(architectures, ","))
		}
	}
	for _, desktop := range r.desktops {
		if !desktopForm.MatchString(desktop) {
			return fmt.Errorf("kubectl imagecsi is not for %q: give -desktops as in linux/amd64", desktop)
		}
	}
	return checkRepository(r.repository)
}

func checkRepository(repository string) error {
	if !repositoryForm.MatchString(repository) {
		return fmt.Errorf("%q is no repository: give -repository as in registry.example/image-csi/image-csi-operator, without tag or digest", repository)
	}
	return nil
}

// tag is the image's, and how programs say their version.
func (r release) tag() string { return "v" + r.version }

// makeRelease fills the release's directory, which is replaced as a whole when all is made.
func makeRelease(ctx context.Context, r release) error {
	if err := r.check(); err != nil {
		return err
	}
	parent := filepath.Dir(filepath.Clean(r.dir))
	if err := os.MkdirAll(parent, 0o755); err != nil {
		return err
	}
	scratch, err := os.MkdirTemp(parent, ".release-")
	if err != nil {
		return fmt.Errorf("make a directory for the release: %w", err)
	}
	defer os.RemoveAll(scratch)
	if err := os.Chmod(scratch, 0o755); err != nil {
		return err
	}
	made, err := r.fill(ctx, scratch)
	if err != nil {
		return err
	}
	if err := replace(scratch, r.dir); err != nil {
		return err
	}
	fmt.Printf("%s@%s\n%s\n", r.repository, made.operator, made.gathererIn(r.repository))
	return nil
}

// digests are those of a release's images.
type digests struct{ operator, gatherer v1.Hash }

// gathererIn is the name of the must-gather image beside the operator's repository.
func (d digests) gathererIn(repository string) string {
	return repository + gatherer().suffix + "@" + d.gatherer.String()
}

func (r release) fill(ctx context.Context, dir string) (made digests, err error) {
	builds, err := compile(ctx, r)
	if err != nil {
		return made, err
	}
	defer builds.remove()
	if err := compilePlugins(ctx, r, builds); err != nil {
		return made, err
	}
	if made.operator, err = operator().writeLayout(ctx, r, builds, dir); err != nil {
		return made, err
	}
	if made.gatherer, err = gatherer().writeLayout(ctx, r, builds, dir); err != nil {
		return made, err
	}
	if err := writeManifests(ctx, r, made, dir); err != nil {
		return made, err
	}
	if err := writePlugins(ctx, r, builds, dir); err != nil {
		return made, err
	}
	return made, writeSums(dir)
}

// marker is what only a release's directory has, so nothing else is replaced by one.
const marker = "SHA256SUMS"

func replace(made, dir string) error {
	if entries, err := os.ReadDir(dir); err == nil && len(entries) > 0 {
		if _, err := os.Stat(filepath.Join(dir, marker)); err != nil {
			return fmt.Errorf("%s is no release and not empty: remove it, or choose another directory", dir)
		}
	}
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("remove the earlier release: %w", err)
	}
	return os.Rename(made, dir)
}
