package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/operator-framework/operator-registry/alpha/declcfg"
)

func writeTemplate(t *testing.T, file, image string) {
	t.Helper()
	if err := os.WriteFile(file, []byte("schema: olm.semver\ngenerateMajorChannels: true\ncandidate: {bundles: [{image: '"+image+"'}]}\n"), 0o644); err != nil {
		t.Fatal(err)
	}
}

// What the catalog has is compared with opm's by "make verify-bundle".
func TestACatalogNeedsTheBundlesThatItNames(t *testing.T) {
	const image = "registry.example/bundle:v1"
	template, empty := filepath.Join(t.TempDir(), "template.yaml"), t.TempDir()
	writeTemplate(t, template, image)
	for name, bundles := range map[string]bundleDirs{
		"no directory was given for bundle " + image: {},
		"read the bundle in " + empty:                {image: empty},
	} {
		if err := writeCatalog(t.Context(), template, bundles, t.TempDir()); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("error = %v, want one with %q", err, name)
		}
	}
}

// A catalog of one release upgrades every older one, which opm's own template does not make.
func TestACatalogOfOneReleaseUpgradesEveryOlderOne(t *testing.T) {
	const image = "registry.example/image-csi-operator-bundle@sha256:0123456789012345678901234567890123456789012345678901234567890123"
	dir := t.TempDir()
	own := filepath.Join(dir, "template.yaml")
	writeTemplate(t, own, image)
	if err := writeCatalog(t.Context(), own, bundleDirs{image: bundleDir}, filepath.Join(dir, "catalog")); err != nil {
		t.Fatal(err)
	}
	found, err := declcfg.LoadFS(t.Context(), os.DirFS(filepath.Join(dir, "catalog")))
	if err != nil {
		t.Fatal(err)
	}
	entry, bundle := found.Channels[0].Entries[0], found.Bundles[0]
	if version := strings.TrimPrefix(bundle.Name, operatorName+".v"); entry.SkipRange != "<"+version || entry.Name != bundle.Name || bundle.Image != image {
		t.Errorf("the channel has %+v, the bundle is %s from %s", entry, bundle.Name, bundle.Image)
	}
}

func TestABundleIsGivenWithItsDirectory(t *testing.T) {
	if err := (bundleDirs{}).Set("registry.example/a"); err == nil {
		t.Error("a bundle without a directory is accepted")
	}
}
