package containerd

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/containerd/platforms"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/image-csi/image-csi-operator/internal/contract"
	"github.com/image-csi/image-csi-operator/internal/nodeplugin/imagestore"
)

func layerWith(t *testing.T, content string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	addFile(t, w, "file", []byte(content))
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func compressed(t *testing.T, content []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, err := w.Write(content)
	if err := errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// claim is a configuration of the given layers, uncompressed.
func claim(layers ...[]byte) ocispec.Image {
	config := ocispec.Image{Platform: platforms.DefaultSpec(), RootFS: ocispec.RootFS{Type: "layers"}}
	for _, layer := range layers {
		config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, digest.FromBytes(layer))
	}
	return config
}

func changed(config ocispec.Image, change func(*ocispec.Image)) ocispec.Image {
	change(&config)
	return config
}

// A tenant pushes to a registry of their own what names the layers of another's image that is on the node, as everybody knows
// them who has seen a list of what it is made of. containerd's CRI service pulls all of these without a word. (8 s)
func TestAnImageThatClaimsAnothersLayersIsNotShown(t *testing.T) {
	d, r := startWithout(t, "io.containerd.nri.v1.nri"), startRegistry(t) // NRI's socket is the machine's
	secret, base, own := layerWith(t, "secret"), layerWith(t, "base"), layerWith(t, "own")
	trusting, proving := d.store(t, "trusting.example"), d.store(t, "proving.example")
	proving.provenOnly = true
	trusting.others, proving.others = contract.OtherPlatformsMount, contract.OtherPlatformsMount
	inUse := map[*Store][]string{} // by pods that may have it: a refusal takes no pin from them
	for repository, layers := range map[string][][]byte{"private/two": {base, secret}, "private/one": {secret}, "own": {own}} {
		ref := r.push(t, repository, claim(layers...), layers...)
		trusting.pull(t, ref)
		if repository == "private/one" {
			for _, s := range []*Store{trusting, proving} {
				inUse[s] = []string{pin(t, s, ref).ID}
			}
		}
	}
	otherType := func(c *ocispec.Image) { c.RootFS.Type = "x" }
	otherPlatform := func(c *ocispec.Image) { c.OS = "windows" }
	for name, c := range map[string]struct {
		config ocispec.Image
		layers [][]byte
		told   bool // by what was measured, so that no proof is needed
	}{
		"a layer that was measured as another":     {claim(secret), [][]byte{own}, true},
		"layers that were measured as others":      {claim(base, secret), [][]byte{base, own}, true},
		"in a wrong order":                         {claim(base, secret), [][]byte{secret, base}, true},
		"a layer that was not fetched":             {claim(secret), [][]byte{layerWith(t, "not fetched")}, false},
		"beneath a layer of its own":               {claim(secret, own), [][]byte{layerWith(t, "not fetched either"), own}, false},
		"a type that containerd does not unpack":   {changed(claim(secret), otherType), [][]byte{layerWith(t, "not unpacked")}, true},
		"a platform that containerd does not mind": {changed(claim(secret), otherPlatform), [][]byte{layerWith(t, "not unpacked either")}, false},
	} {
		t.Run(name, func(t *testing.T) {
			ref := r.push(t, "evil/"+digest.FromString(name).Encoded(), c.config, c.layers...)
			trusting.pull(t, ref)
			stores := []*Store{proving}
			if c.told {
				stores = append(stores, trusting)
			}
			for _, s := range stores {
				tree, err := s.Pin(testContext(t), ref)
				if !errors.Is(err, imagestore.ErrUnsupported) || !strings.Contains(err.Error(), ref) || strings.Contains(err.Error(), "\n") {
					t.Errorf("%s: pinned as %+v, %v", s.driver, tree, err)
				}
				if found, _ := s.Find(testContext(t), ref); found != nil {
					if tree, err := found(testContext(t)); !errors.Is(err, imagestore.ErrUnsupported) {
						t.Errorf("%s: found and pinned as %+v, %v", s.driver, tree, err)
					}
				}
				if now := pins(t, s); !slices.Equal(now, inUse[s]) {
					t.Errorf("%s: pins %q, want %q", s.driver, now, inUse[s])
				}
			}
		})
	}
}

// Images whose layers are their own are shown to those who ask for proof as well, however they came to the node.
func TestAnImageOfMeasuredLayersIsShownToThoseWhoAskForProof(t *testing.T) {
	d, r := startWithout(t, "io.containerd.nri.v1.nri"), startRegistry(t)
	s := d.store(t, "proving.example")
	s.provenOnly = true
	base, top, other := layerWith(t, "base"), layerWith(t, "top"), layerWith(t, "other")
	untyped := changed(claim(base, top), func(c *ocispec.Image) { c.RootFS.Type = "" })
	foreign := changed(claim(other), func(c *ocispec.Image) { c.OS = "windows" }) // which CRI does not unpack
	s.others = contract.OtherPlatformsMount
	for _, c := range []struct {
		ref, content string
	}{
		{r.push(t, "pulled", claim(base, top), base, top), "top"},
		{r.push(t, "again/equal", untyped, base, top), "top"},
		{r.push(t, "again/on-top", claim(base, other), base, other), "other"},
		{r.push(t, "compressed", claim(other), compressed(t, other)), "other"},
		{r.push(t, "foreign", foreign, compressed(t, other)), "other"},
	} {
		s.pull(t, c.ref)
		tree := pin(t, s, c.ref)
		if shown, err := os.ReadFile(filepath.Join(tree.Layers[0], "file")); err != nil || string(shown) != c.content {
			t.Errorf("%s shows %q, %v; want %q", c.ref, shown, err, c.content)
		}
	}
	pin(t, s, d.load(t, "registry.example/loaded:1", 3).Name()) // which nothing has unpacked

	again := r.push(t, "compressed-anew", claim(base), append(compressed(t, base), 0))
	s.pull(t, again)
	_, err := s.Pin(testContext(t), again)
	if !errors.Is(err, errUnmeasured) || !strings.Contains(err.Error(), "AlwaysVerify") {
		t.Errorf("compressed again: %v", err)
	}
	pin(t, d.store(t, "trusting.example"), again)
}

// A blob's measure is a fact about its content: the same is not asked for twice, also when containerd has lost the blob since.
func TestWhatWasMeasuredIsNotAskedForAgain(t *testing.T) {
	d := startDaemon(t)
	s := d.store(t, "measuring.example")
	image := d.load(t, "registry.example/measured:1", 2)
	pin(t, s, image.Name())
	found, err := s.describe(testContext(t), image)
	if err != nil {
		t.Fatal(err)
	}
	d.stop()
	again, err := s.measure(testContext(t), found.layers)
	if err != nil || !slices.Equal(again, found.diffs) {
		t.Errorf("without containerd: %q, %v; want %q", again, err, found.diffs)
	}
}

func TestMeasurementsAreBounded(t *testing.T) {
	var m measurements
	m.add("sha256:none", "")
	for i := range maxMeasurements + 1 {
		m.add(digest.FromString(string(rune(i))), digest.FromString("x"))
		if len(m.diffs) > maxMeasurements {
			t.Fatalf("%d are kept", len(m.diffs))
		}
	}
	if m.diffOf("sha256:none") != "" || m.diffOf(digest.FromString(string(rune(maxMeasurements)))) != digest.FromString("x") {
		t.Errorf("of the last: %q", m.diffOf(digest.FromString(string(rune(maxMeasurements)))))
	}
}
