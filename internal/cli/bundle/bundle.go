package bundle

import (
	"archive/tar"
	"compress/gzip"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/image-csi/image-csi-operator/internal/cli/document"
)

const (
	// maxFile is the size of the largest file, and maxTotal that of all of them.
	maxFile  = 4 << 20
	maxTotal = 64 << 20

	// manifest is the file that names every other one.
	manifest = "manifest.json"
)

// Bundle collects files. The zero value is empty.
type Bundle struct {
	files   []file
	missing []document.MissingPart
	total   int
}

type file struct {
	path, about string
	content     []byte
}

// Add adds an object or a document, redacted.
func (b *Bundle) Add(path, about string, object any) {
	content, err := Object(object)
	if err != nil {
		b.Miss(path, err.Error())
		return
	}
	b.add(path, about, content)
}

// AddText adds a text, redacted.
func (b *Bundle) AddText(path, about string, text []byte) {
	b.add(path, about, []byte(Text(string(text))))
}

func (b *Bundle) add(path, about string, content []byte) {
	switch {
	case len(content) > maxFile:
		b.Miss(path, fmt.Sprintf("it has %d bytes, and a file may have %d", len(content), maxFile))
	case b.total+len(content) > maxTotal:
		b.Miss(path, fmt.Sprintf("the bundle is full, it may have %d bytes", maxTotal))
	default:
		b.files, b.total = append(b.files, file{path, about, content}), b.total+len(content)
	}
}

// Miss notes what is not in the bundle, and why.
func (b *Bundle) Miss(what, why string) {
	b.missing = append(b.missing, document.MissingPart{What: what, Why: Text(why)})
}

// describe returns the manifest.
func (b *Bundle) describe(now time.Time) document.SupportBundle {
	described := make([]document.BundledFile, 0, len(b.files))
	for _, f := range b.files {
		described = append(described, document.BundledFile{Path: f.path, About: f.about, Bytes: len(f.content), SHA256: fmt.Sprintf("%x", sha256.Sum256(f.content))})
	}
	return document.NewSupportBundle(now, described, b.missing)
}

// whole returns the manifest and all files, it first.
func (b *Bundle) whole(now time.Time) (document.SupportBundle, []file, error) {
	d := b.describe(now)
	text, err := json.MarshalIndent(d, "", "  ")
	return d, slices.Concat([]file{{path: manifest, content: append(text, '\n')}}, b.files), err
}

// WriteDir writes the files into a directory, which it makes: one that exists is an error.
func (b *Bundle) WriteDir(dir string, now time.Time) (document.SupportBundle, error) {
	d, files, err := b.whole(now)
	if err != nil {
		return d, err
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		return d, fmt.Errorf("make a directory for the bundle: %w", err)
	}
	for _, f := range files {
		path := filepath.Join(dir, filepath.FromSlash(f.path))
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, f.content, 0o600)); err != nil {
			return d, fmt.Errorf("write the bundle: %w", err)
		}
	}
	return d, nil
}

// WriteArchive writes the files into a new .tar.gz, in a directory of its name.
func (b *Bundle) WriteArchive(path string, now time.Time) (d document.SupportBundle, err error) {
	d, files, err := b.whole(now)
	if err != nil {
		return d, err
	}
	out, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return d, fmt.Errorf("%s exists: name another file by --file", path)
	}
	if err != nil {
		return d, fmt.Errorf("write the bundle: %w", err)
	}
	err = pack(out, strings.TrimSuffix(filepath.Base(path), ".tar.gz"), files, now)
	return d, errors.Join(err, out.Close())
}

func pack(out io.Writer, top string, files []file, now time.Time) error {
	compressed := gzip.NewWriter(out)
	packed := tar.NewWriter(compressed)
	for _, f := range files {
		header := &tar.Header{Name: top + "/" + f.path, Mode: 0o600, Size: int64(len(f.content)), ModTime: now}
		if err := packed.WriteHeader(header); err != nil {
			return fmt.Errorf("pack %s: %w", f.path, err)
		}
		if _, err := packed.Write(f.content); err != nil {
			return fmt.Errorf("pack %s: %w", f.path, err)
		}
	}
	return errors.Join(packed.Close(), compressed.Close())
}
