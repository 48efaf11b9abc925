package linktree

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/image-csi/image-csi-operator/internal/nodeplugin/hostmount"
	"github.com/image-csi/image-csi-operator/internal/nodeplugin/words"
)

const (
	// maxEntries is how many entries of layers are looked at. The largest images that are in use have a million.
	maxEntries = 5_000_000

	// maxDepth is how deep directories may lie. It bounds the descriptors of one build; images in use have less than a hundred.
	maxDepth = 256

	// batch is how many entries are read of a directory at a time.
	batch = 128

	// maxNamed bounds a path in an error.
	maxNamed = 256
)

// Built is what a tree consists of.
type Built struct {
	Directories int
	Links       int // names that lead to a file of the layers; in a copy, to one of its own that has another name
	Files       int // that were copied
	Shared      int // of the copied files, those that share the disk of the layers' until one of both is written
	Omitted     int // devices, pipes and sockets that a copy lacks
}

// bounds are the limits of a build. Tests set them lower.
type bounds struct{ entries, depth int }

// sink is what becomes of the layers' files.
type sink interface {
	// add gives a directory of the tree a file of a layer, which is no directory. Errors: unix.EEXIST if an upper layer has that
	// name, or errOmitted.
	add(ctx context.Context, f file, built *Built) error

	// attempt says what add does, for errors. refusal is why no tree can be made of these layers, here, if an error means that.
	attempt() string
	refusal(err error) string
}

// errOmitted means that the tree lacks a file, which hides those of lower layers all the same.
var errOmitted = errors.New("the file is left out")

// file is a name in a directory of a layer, and where it belongs in the tree.
type file struct {
	from *os.File // the layer's directory
	into *os.File // the tree's
	name string
	path string // from the root of the tree
	stat *unix.Stat_t
}

// builder builds one tree.
type builder struct {
	bounds
	sink    sink
	store   *os.File
	layers  []string
	entries int // seen so far
	built   Built
}

// Build fills an empty directory with what a stack of layers shows, until ctx ends. Layers are directories, topmost first, named
// relative to store; store and into lie in one mount. Names are opened without following a link. After an error, the directory
// holds a part. Errors: hostmount.ErrNotMappable if the tree cannot be built of these layers, here, or the kernel's own.
func Build(ctx context.Context, store *os.File, layers []string, into *os.File) (Built, error) {
	return build(ctx, store, layers, into, linker{}, bounds{maxEntries, maxDepth})
}

func build(ctx context.Context, store *os.File, layers []string, into *os.File, files sink, within bounds) (Built, error) {
	b := builder{bounds: within, sink: files, store: store, layers: layers}
	all := make([]int, len(layers))
	for i := range layers {
		all[i] = i
	}
	sources, err := b.showing(".", all)
	if err == nil && len(sources) == 0 {
		err = fmt.Errorf("%w: none of its layers is there", os.ErrNotExist)
	}
	if err == nil {
		err = b.directory(ctx, ".", sources, into, 0)
	}
	return b.built, err
}

// showing returns which of some layers show through in a directory: those that have it, from the topmost down to the first that is
// opaque, or above one that has something else in its place.
func (b *builder) showing(dir string, layers []int) ([]int, error) {
	var shown []int
	for _, layer := range layers {
		opaque, err := b.isOpaque(layer, dir)
		switch {
		case errors.Is(err, unix.ENOENT):
			continue
		case errors.Is(err, unix.ENOTDIR), errors.Is(err, unix.ELOOP):
			return shown, nil
		case err != nil:
			return nil, b.failed("opening", dir, err)
		}
		shown = append(shown, layer)
		if opaque {
			break
		}
	}
	return shown, nil
}

// isOpaque reports whether a layer's directory hides those beneath it.
func (b *builder) isOpaque(layer int, dir string) (bool, error) {
	opened, err := b.open(layer, dir)
	if err != nil {
		return false, err
	}
	defer opened.Close()
	return isOpaque(opened)
}

func (b *builder) open(layer int, dir string) (*os.File, error) {
	return hostmount.OpenDir(b.store, path.Join(b.layers[layer], dir))
}

// directory fills one directory of the tree with what the layers show there, and gives it the topmost one's attributes.
func (b *builder) directory(ctx context.Context, dir string, layers []int, into *os.File, depth int) error {
	if depth > b.depth {
		return fmt.Errorf("%w: the image has directories more than %d deep", hostmount.ErrNotMappable, b.depth)
	}
	hidden := map[string]bool{} // what an upper layer's whiteouts remove
	for i := range layers {
		level := level{dir: dir, layers: layers[i:], into: into, hidden: hidden, depth: depth}
		if err := b.layer(ctx, level); err != nil {
			return err
		}
	}
	b.built.Directories++
	top, err := b.open(layers[0], dir)
	if err != nil {
		return b.failed("opening", dir, err)
	}
	defer top.Close()
	if err := copyAttributes(top, into); err != nil {
		return b.failed("making", dir, err)
	}
	return nil
}

// level is a directory of the tree, to which the topmost of some layers adds what it has.
type level struct {
	dir    string
	layers []int
	into   *os.File
	hidden map[string]bool
	depth  int
}

// layer adds what one layer has in a directory.
func (b *builder) layer(ctx context.Context, l level) error {
	from, err := b.open(l.layers[0], l.dir)
	if err != nil {
		return b.failed("opening", l.dir, err)
	}
	defer from.Close()
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		names, err := from.Readdirnames(batch)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return b.failed("reading", l.dir, err)
		}
		if b.entries += len(names); b.entries > b.bounds.entries {
			return fmt.Errorf("%w: the image has more than %d files", hostmount.ErrNotMappable, b.bounds.entries)
		}
		for _, name := range names {
			if err := b.entry(ctx, l, from, name); err != nil {
				return err
			}
		}
	}
}

// entry adds one name, unless an upper layer has it or has removed it.
func (b *builder) entry(ctx context.Context, l level, from *os.File, name string) error {
	if l.hidden[name] {
		return nil
	}
	var stat unix.Stat_t
	if err := unix.Fstatat(int(from.Fd()), name, &stat, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return b.failed("looking at", path.Join(l.dir, name), err)
	}
	switch stat.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		return b.enter(ctx, l, name)
	case unix.S_IFCHR:
		if stat.Rdev == 0 { // a whiteout
			l.hidden[name] = true
			return nil
		}
	case unix.S_IFREG:
		if err := isWhole(from, name); err != nil {
			return b.failed("looking at", path.Join(l.dir, name), err)
		}
	}
	f := file{from: from, into: l.into, name: name, path: path.Join(l.dir, name), stat: &stat}
	err := b.sink.add(ctx, f, &b.built)
	switch {
	case err == nil, errors.Is(err, unix.EEXIST):
		return nil
	case errors.Is(err, errOmitted):
		l.hidden[name] = true
		return nil
	default:
		return b.failed(b.sink.attempt(), f.path, err)
	}
}

// enter adds a directory, with what lower layers have in it. An upper layer's directory of that name was merged with this one.
func (b *builder) enter(ctx context.Context, l level, name string) error {
	err := unix.Mkdirat(int(l.into.Fd()), name, draftMode)
	if errors.Is(err, unix.EEXIST) {
		return nil
	}
	dir := path.Join(l.dir, name)
	if err != nil {
		return b.failed("making", dir, err)
	}
	into, err := openIn(l.into, name)
	if err != nil {
		return b.failed("opening", dir, err)
	}
	defer into.Close()
	layers, err := b.showing(dir, l.layers)
	if err != nil {
		return err
	}
	return b.directory(ctx, dir, layers, into, l.depth+1)
}

// draftMode is the mode of directories until they are complete.
const draftMode = 0o700

// openIn opens a directory that was just made.
func openIn(parent *os.File, name string) (*os.File, error) {
	fd, err := unix.Openat(int(parent.Fd()), name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), name), nil
}

// failed wraps the error of an attempt on a path of the image. Those that mean that no tree can be made of these layers,
// here, are refusals.
func (b *builder) failed(attempt, at string, err error) error {
	if errors.Is(err, hostmount.ErrNotMappable) {
		return err
	}
	reason := b.sink.refusal(err)
	named := strconv.Quote(words.Shorten(path.Join("/", at), maxNamed))
	if reason == "" {
		return fmt.Errorf("%s %s: %w", attempt, named, err)
	}
	// Not %w: the kernel's error has another meaning to callers.
	return fmt.Errorf("%w: %s (%s %s: %v)", hostmount.ErrNotMappable, reason, attempt, named, err) //nolint:errorlint // see above
}
