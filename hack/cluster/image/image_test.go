package image

import (
	"archive/tar"
	"errors"
	"io"
	"slices"
	"testing"
)

func TestLayerMakesParentDirectoriesOnceAndBeforeTheirFiles(t *testing.T) {
	layer, err := Layer(File{Path: "/a/b/one", Content: []byte("1")}, File{Path: "a/b/two", Content: []byte("2"), Mode: 0o600})
	if err != nil {
		t.Fatal(err)
	}
	reader, err := layer.Uncompressed()
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	var names []string
	for archive := tar.NewReader(reader); ; {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, header.Name)
	}
	if want := []string{"a/", "a/b/", "a/b/one", "a/b/two"}; !slices.Equal(names, want) {
		t.Errorf("entries = %q, want %q", names, want)
	}
}

func TestNumberedImageHasOneDistinctLayerForEachNumber(t *testing.T) {
	made, err := Numbered(3)
	if err != nil {
		t.Fatal(err)
	}
	layers, err := made.Layers()
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, layer := range layers {
		id, err := layer.DiffID()
		if err != nil {
			t.Fatal(err)
		}
		seen[id.String()] = true
	}
	if len(seen) != 3 {
		t.Errorf("%d distinct layers, want 3", len(seen))
	}
}

func TestEqualFilesGiveAnEqualImage(t *testing.T) {
	one, err := Numbered(2)
	if err != nil {
		t.Fatal(err)
	}
	two, err := Numbered(2)
	if err != nil {
		t.Fatal(err)
	}
	first, _ := one.Digest()
	second, _ := two.Digest()
	if first != second {
		t.Errorf("digests %s and %s differ", first, second)
	}
}

func TestSparseFileIsSmallInTheLayerAndLargeOutsideIt(t *testing.T) {
	made, err := Sparse("/dir/file", 5<<30, []byte("end"))
	if err != nil {
		t.Fatal(err)
	}
	layers, err := made.Layers()
	if err != nil {
		t.Fatal(err)
	}
	reader, err := layers[0].Uncompressed()
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	header, err := tar.NewReader(reader).Next()
	if err != nil || header.Name != "dir/file" || header.Size != 5<<30+3 {
		t.Errorf("got %+v, %v", header, err)
	}
	if size, err := layers[0].Size(); err != nil || size > 4096 {
		t.Errorf("the layer has %d bytes (%v)", size, err)
	}
}
