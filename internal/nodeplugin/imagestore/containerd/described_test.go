package containerd

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/image-csi/image-csi-operator/internal/contract"
	"github.com/image-csi/image-csi-operator/internal/nodeplugin/hostmount"
	"github.com/image-csi/image-csi-operator/internal/nodeplugin/imagestore"
)

const (
	sha256Of = "sha256:0000000000000000000000000000000000000000000000000000000000000000"
	sha512Of = "sha512:00000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000"
)

// manifestOf is a manifest of layers with the given digests.
func manifestOf(layers ...string) string {
	var m ocispec.Manifest
	for _, layer := range layers {
		m.Layers = append(m.Layers, ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayerGzip, Digest: digest.Digest(layer)})
	}
	text, err := json.Marshal(m)
	if err != nil {
		panic(err)
	}
	return string(text)
}

func configOf(kind string, diffs ...string) string {
	text, err := json.Marshal(map[string]any{"rootfs": map[string]any{"type": kind, "diff_ids": diffs}})
	if err != nil {
		panic(err)
	}
	return string(text)
}

// hostile are manifests and configurations that no builder makes.
var hostile = map[string]struct{ manifest, config, words string }{
	"no JSON":                      {manifestOf(sha256Of), "no JSON", "OCI image specification"},
	"a list":                       {manifestOf(sha256Of), "[]", "OCI image specification"},
	"a number beyond all bounds":   {manifestOf(sha256Of), `{"os":` + strings.Repeat("9", 70_000) + "}", "OCI image specification"},
	"nested without an end":        {manifestOf(sha256Of), strings.Repeat(`{"a":`, 20_000), "OCI image specification"},
	"null":                         {manifestOf(sha256Of), "null", "artifact"},
	"an artifact":                  {manifestOf(sha256Of), "{}", "artifact"},
	"no layers":                    {manifestOf(), configOf("layers"), "has no layers"},
	"another type":                 {manifestOf(sha256Of), configOf("x", sha256Of), `"x"`},
	"a type without an end":        {manifestOf(sha256Of), configOf(strings.Repeat("x\n", 35_000), sha256Of), "root file system of type"},
	"a type in upper case":         {manifestOf(sha256Of), configOf("Layers", sha256Of), `"Layers"`},
	"a type that is no text":       {manifestOf(sha256Of), `{"rootfs":{"type":5}}`, "OCI image specification"},
	"no digest":                    {manifestOf(sha256Of), configOf("layers", "foo"), `configuration names layer 1 "foo"`},
	"an empty digest":              {manifestOf(sha256Of), configOf("layers", ""), `configuration names layer 1 ""`},
	"a digest without an end":      {manifestOf(sha256Of), configOf("layers", "sha256:"+strings.Repeat("0", 70_000)), "configuration names layer 1"},
	"a short digest":               {manifestOf(sha256Of), configOf("layers", "sha256:0"), "configuration names layer 1"},
	"a digest in upper case":       {manifestOf(sha256Of), configOf("layers", "sha256:"+strings.Repeat("A", 64)), "configuration names layer 1"},
	"a digest with a path":         {manifestOf(sha256Of), configOf("layers", "sha256:../../"+sha256Of[13:]), "configuration names layer 1"},
	"another algorithm":            {manifestOf(sha256Of), configOf("layers", sha512Of), "configuration names layer 1"},
	"an unknown algorithm":         {manifestOf(sha256Of), configOf("layers", "md5:"+strings.Repeat("0", 32)), "configuration names layer 1"},
	"the second one":               {manifestOf(sha256Of, sha256Of), configOf("layers", sha256Of, "sha256"), "configuration names layer 2"},
	"no digest in the manifest":    {manifestOf("foo"), configOf("layers", sha256Of), `manifest names layer 1 "foo"`},
	"another one in the manifest":  {manifestOf(sha512Of), configOf("layers", sha256Of), "manifest names layer 1"},
	"fewer in the manifest":        {manifestOf(sha256Of), configOf("layers", sha256Of, sha256Of), "manifest has 1 layers and its configuration 2"},
	"fewer in the configuration":   {manifestOf(sha256Of, sha256Of), configOf("layers", sha256Of), "manifest has 2 layers and its configuration 1"},
	"layers that are none":         {`{"layers":[{"mediaType":"text/plain","digest":"` + sha256Of + `"}]}`, configOf("layers", sha256Of), "manifest has 0 layers"},
	"more than the kernel stacks":  {manifestOf(), configOf("layers", strings.Split(strings.Repeat(","+sha256Of, 501)[1:], ",")...), "501 layers"},
	"more than anybody can count":  {manifestOf(), configOf("layers", make([]string, 200_000)...), "200000 layers"},
	"a manifest that has no layer": {`{"layers":null}`, configOf("layers", sha256Of), "manifest has 0 layers"},
}

func TestHostileDescriptionsAreRefusedInOneSentence(t *testing.T) {
	for name, c := range hostile {
		t.Run(name, func(t *testing.T) {
			var manifest ocispec.Manifest
			if err := json.Unmarshal([]byte(c.manifest), &manifest); err != nil {
				t.Fatal(err)
			}
			_, err := describe(manifest, []byte(c.config))
			if !errors.Is(err, imagestore.ErrUnsupported) || !strings.Contains(err.Error(), c.words) {
				t.Fatalf("got %.500v, want words %q", err, c.words)
			}
			if text := err.Error(); len(text) > 500 || strings.Contains(text, "\n") {
				t.Errorf("no sentence for an event: %.600q", text)
			}
		})
	}
}

func TestADescriptionIsRead(t *testing.T) {
	other := digest.FromString("other")
	var manifest ocispec.Manifest
	if err := json.Unmarshal([]byte(manifestOf(sha256Of, other.String())), &manifest); err != nil {
		t.Fatal(err)
	}
	manifest.Layers = append(manifest.Layers, ocispec.Descriptor{MediaType: "application/vnd.example.signature"})
	for _, kind := range []string{"layers", ""} {
		d, err := describe(manifest, []byte(configOf(kind, other.String(), sha256Of)))
		if err != nil || fmt.Sprint(d.layers, d.diffs) != fmt.Sprint([]string{sha256Of, other.String()}, []string{other.String(), sha256Of}) {
			t.Errorf("%q: %+v, %v", kind, d, err)
		}
	}
}

// What describe lets through names a tree.
func FuzzDescribe(f *testing.F) {
	f.Add(manifestOf(sha256Of), configOf("layers", sha256Of))
	for _, c := range hostile {
		f.Add(c.manifest, c.config)
	}
	f.Fuzz(func(t *testing.T, manifestText, config string) {
		var manifest ocispec.Manifest
		if json.Unmarshal([]byte(manifestText), &manifest) != nil {
			return
		}
		d, err := describe(manifest, []byte(config))
		if err != nil {
			if !errors.Is(err, imagestore.ErrUnsupported) || len(err.Error()) > 1000 {
				t.Errorf("%.2000v", err)
			}
			return
		}
		if len(d.layers) != len(d.diffs) || len(d.diffs) == 0 || len(d.diffs) > hostmount.MaxLayers {
			t.Errorf("%d layers unpack to %d", len(d.layers), len(d.diffs))
		}
		for _, id := range append(d.layers, d.diffs...) {
			if len(id.Encoded()) != 64 {
				t.Errorf("%q is no SHA-256 digest", id)
			}
		}
		if tree := d.tree(); len((&Store{driver: driver}).viewName(tree)) != len("imagecsi-"+driver+"-")+64 {
			t.Errorf("the tree is %q", tree)
		}
		_ = imagestore.CheckPlatform(contract.OtherPlatformsRefuse, d.platform)
	})
}
