package image

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"os"
	"path"
	"runtime"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// File is one entry of a layer.
type File struct {
	// Path is the entry's absolute path in the image. Directories above it are made as needed.
	Path string

	// Content is a regular file's content. Directories and links have none.
	Content []byte

	// Mode is the permission bits, set-uid, set-gid and sticky as in tar; 0 means 0644 for a file, 0755 for a
	// directory.
	Mode int64

	// Directory makes the entry a directory.
	Directory bool

	// Link makes the entry a symbolic link to this target.
	Link string

	// HardLink makes the entry another name of the file at this path in the same layer.
	HardLink string

	// Device makes the entry a device or a pipe.
	Device *Device

	// UID and GID own the entry.
	UID, GID int

	// Xattrs are extended attributes, such as security.capability.
	Xattrs map[string]string
}

// Device is a device node or a pipe.
type Device struct {
	Type         byte // tar.TypeChar, tar.TypeBlock or tar.TypeFifo
	Major, Minor int64
}

// Whiteout is the entry that removes the file or directory at path, which a lower layer has.
func Whiteout(file string) File {
	return File{Path: path.Join(path.Dir(file), ".wh."+path.Base(file))}
}

// Opaque is the entry that hides what lower layers have in a directory.
func Opaque(dir string) File { return File{Path: path.Join(dir, ".wh..wh..opq")} }

// Program is the file of a program on this machine, executable, at target in the image.
func Program(source, target string) (File, error) {
	content, err := os.ReadFile(source)
	if err != nil {
		return File{}, fmt.Errorf("read a program for an image: %w", err)
	}
	return File{Path: target, Content: content, Mode: 0o755}, nil
}

// Layer is a layer of the given files. Equal files give an equal layer.
func Layer(files ...File) (v1.Layer, error) {
	var buffer bytes.Buffer
	if err := writeTar(&buffer, files); err != nil {
		return nil, fmt.Errorf("write a layer: %w", err)
	}
	return tarball.LayerFromOpener(func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(buffer.Bytes())), nil
	})
}

// New is an image for this machine's architecture whose process is described by config and whose layers are given
// from the bottom up.
func New(config v1.Config, layers ...v1.Layer) (v1.Image, error) {
	return NewFor(runtime.GOARCH, config, layers...)
}

// NewFor is New for another architecture, e.g. arm64.
func NewFor(architecture string, config v1.Config, layers ...v1.Layer) (v1.Image, error) {
	file, err := empty.Image.ConfigFile()
	if err != nil {
		return nil, err
	}
	file = file.DeepCopy()
	file.OS, file.Architecture = "linux", architecture
	file.Config = config
	image, err := mutate.ConfigFile(empty.Image, file)
	if err != nil {
		return nil, fmt.Errorf("set an image's configuration: %w", err)
	}
	image, err = mutate.AppendLayers(image, layers...)
	if err != nil {
		return nil, fmt.Errorf("append an image's layers: %w", err)
	}
	return image, nil
}

func writeTar(w io.Writer, files []File) error {
	archive := tar.NewWriter(w)
	made := map[string]bool{"/": true}
	for _, file := range files {
		if err := writeParents(archive, made, path.Dir(path.Clean("/"+file.Path))); err != nil {
			return err
		}
		if err := writeEntry(archive, made, file); err != nil {
			return err
		}
	}
	return archive.Close()
}

func writeParents(archive *tar.Writer, made map[string]bool, dir string) error {
	var missing []string
	for ; !made[dir]; dir = path.Dir(dir) {
		missing = append(missing, dir)
	}
	for _, dir := range slices.Backward(missing) {
		if err := writeEntry(archive, made, File{Path: dir, Directory: true}); err != nil {
			return err
		}
	}
	return nil
}

func writeEntry(archive *tar.Writer, made map[string]bool, file File) error {
	name := path.Clean("/" + file.Path)
	header := &tar.Header{
		Name: strings.TrimPrefix(name, "/"), Mode: file.Mode, Uid: file.UID, Gid: file.GID,
		Size: int64(len(file.Content)), Typeflag: tar.TypeReg, Format: tar.FormatPAX,
	}
	for key, value := range file.Xattrs {
		if header.PAXRecords == nil {
			header.PAXRecords = map[string]string{}
		}
		header.PAXRecords["SCHILY.xattr."+key] = value
	}
	switch {
	case file.Directory:
		header.Typeflag, header.Name = tar.TypeDir, header.Name+"/"
		made[name] = true
	case file.Link != "":
		header.Typeflag, header.Linkname = tar.TypeSymlink, file.Link
	case file.HardLink != "":
		header.Typeflag, header.Linkname = tar.TypeLink, strings.TrimPrefix(path.Clean("/"+file.HardLink), "/")
	case file.Device != nil:
		header.Typeflag, header.Devmajor, header.Devminor = file.Device.Type, file.Device.Major, file.Device.Minor
	}
	if header.Mode == 0 {
		header.Mode = 0o644
		if file.Directory {
			header.Mode = 0o755
		}
	}
	if err := archive.WriteHeader(header); err != nil {
		return err
	}
	_, err := archive.Write(file.Content)
	return err
}
