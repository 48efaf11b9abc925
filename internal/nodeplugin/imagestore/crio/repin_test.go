package crio

import (
	"errors"
	"slices"
	"testing"

	"github.com/image-csi/image-csi-operator/internal/nodeplugin/imagestore"
)

func TestALostPinIsMadeAgainFromWhateverImageHasTheLayers(t *testing.T) {
	f := newFixture(t)
	f.image(t, "registry.example/other:1", 1)
	image := f.image(t, "registry.example/app:1", 2)
	s := f.open(t, driver)
	tree := pin(t, s, "registry.example/app:1")
	lose := func() { // as CRI-O does with a container that it takes for damaged
		t.Helper()
		if err := f.runtime.DeleteContainer(s.pinID(tree.ID)); err != nil {
			t.Fatal(err)
		}
	}
	lose()
	if err := f.runtime.RemoveNames(image.ID, image.Names); err != nil { // a tag that moved
		t.Fatal(err)
	}
	for range 2 {
		if err := s.Repin(testContext(t), tree.ID); err != nil {
			t.Fatal(err)
		}
	}
	if kept, err := s.Pinned(testContext(t), tree.ID); err != nil || !slices.Equal(kept.Layers, tree.Layers) || len(pins(t, s)) != 1 {
		t.Errorf("pinned is %+v, %v; pins %q", kept, err, pins(t, s))
	}
	if _, err := f.runtime.DeleteImage(image.ID, true); err == nil {
		t.Error("the image could be removed")
	}
	lose()
	if _, err := f.runtime.DeleteImage(image.ID, true); err != nil {
		t.Fatal(err)
	}
	if err := s.Repin(testContext(t), tree.ID); !errors.Is(err, imagestore.ErrNotFound) || len(pins(t, s)) != 0 {
		t.Errorf("a tree whose layers are gone: %v, pins %q", err, pins(t, s))
	}
}
