package image

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// block is what tar files count in.
const block = 512

// Sparse is an image of one file that has zeros and then the given end. The layer holds no more than the end, as GNU
// tar --sparse writes it (PAX format 1.0), so the image is small however large the file is.
func Sparse(path string, zeros int64, end []byte) (v1.Image, error) {
	content := fmt.Sprintf("1\n%d\n%d\n", zeros, len(end)) // the map: one piece, where it lies and how long it is
	content += strings.Repeat("\x00", block-len(content)) + string(end)
	var buffer bytes.Buffer
	if err := writeSparse(&buffer, strings.TrimPrefix(path, "/"), zeros+int64(len(end)), []byte(content)); err != nil {
		return nil, fmt.Errorf("write a sparse file: %w", err)
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(buffer.Bytes())), nil
	})
	if err != nil {
		return nil, err
	}
	return New(v1.Config{}, layer)
}

// writeSparse writes the entry by hand: archive/tar reads sparse files and does not write them.
func writeSparse(w io.Writer, path string, size int64, content []byte) error {
	var records strings.Builder
	for _, record := range [][2]string{
		{"GNU.sparse.major", "1"}, {"GNU.sparse.minor", "0"},
		{"GNU.sparse.name", path}, {"GNU.sparse.realsize", fmt.Sprint(size)},
	} {
		records.WriteString(paxRecord(record[0], record[1]))
	}
	for _, entry := range []struct {
		kind    byte
		name    string
		content []byte
	}{{tar.TypeXHeader, "pax", []byte(records.String())}, {tar.TypeReg, path, content}} {
		var header bytes.Buffer
		archive := tar.NewWriter(&header)
		err := archive.WriteHeader(&tar.Header{
			Typeflag: tar.TypeReg, Name: entry.name, Mode: 0o644, Size: int64(len(entry.content)), Format: tar.FormatUSTAR,
		})
		if err != nil {
			return err
		}
		raw := header.Bytes()[:block]
		raw[156] = entry.kind // the type flag
		setChecksum(raw)
		padding := make([]byte, (block-len(entry.content)%block)%block)
		if _, err := w.Write(append(append(raw, entry.content...), padding...)); err != nil {
			return err
		}
	}
	_, err := w.Write(make([]byte, 2*block))
	return err
}

// paxRecord is "LENGTH KEY=VALUE\n", where the length counts itself.
func paxRecord(key, value string) string {
	size := len(key) + len(value) + 3
	for {
		record := fmt.Sprintf("%d %s=%s\n", size, key, value)
		if len(record) == size {
			return record
		}
		size = len(record)
	}
}

// setChecksum sets a header's checksum: the sum of its bytes, with blanks in place of the sum itself.
func setChecksum(header []byte) {
	field := header[148:156]
	copy(field, "        ")
	sum := 0
	for _, b := range header {
		sum += int(b)
	}
	copy(field, fmt.Sprintf("%06o\x00 ", sum))
}
