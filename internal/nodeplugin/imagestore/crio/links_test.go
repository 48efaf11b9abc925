package crio

import (
	"os"
	"path/filepath"
	"testing"

	"go.podman.io/storage"
)

// killedMakingALayer leaves what a process leaves that is killed before it has written the short name of a layer.
func killedMakingALayer(t *testing.T, f *fixture, parent string) *storage.Layer {
	t.Helper()
	layer, err := f.runtime.CreateLayer("", parent, nil, "", true, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(filepath.Join(f.dir, "graph/overlay", layer.ID, "link"), 0); err != nil {
		t.Fatal(err)
	}
	return layer
}

func TestALayerWithoutAShortNameDoesNotTakeAllOthersNamesWithIt(t *testing.T) {
	for name, removed := range map[string]func(t *testing.T, f *fixture, layer string){
		"after the plugin's start": func(t *testing.T, f *fixture, layer string) {
			f.open(t, driver)
			removeLayer(t, f, layer)
		},
		"before it": func(t *testing.T, f *fixture, layer string) {
			removeLayer(t, f, layer)
			f.open(t, driver)
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			image := f.image(t, "registry.example/links:1", 3)
			removed(t, f, killedMakingALayer(t, f, image.TopLayer).ID)
			links, err := filepath.Glob(filepath.Join(f.dir, "graph/overlay/l/*"))
			if err != nil {
				t.Fatal(err)
			}
			lead := 0
			for _, link := range links {
				if _, err := os.Stat(link); err == nil {
					lead++
				}
			}
			if lead != 3 {
				t.Errorf("of the short names %q %d lead to a layer, want 3", links, lead)
			}
			s := f.open(t, driver)
			if tree := pin(t, s, "registry.example/links:1"); len(tree.Layers) != 3 {
				t.Errorf("layers %q", tree.Layers)
			}
		})
	}
}

func removeLayer(t *testing.T, f *fixture, layer string) {
	t.Helper()
	if err := f.runtime.DeleteLayer(layer); err != nil {
		t.Fatal(err)
	}
}
