package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/operator-framework/api/pkg/operators/v1alpha1"
	"github.com/operator-framework/operator-registry/alpha/declcfg"
	"github.com/operator-framework/operator-registry/alpha/property"
	"github.com/operator-framework/operator-registry/alpha/template/semver"
	"github.com/operator-framework/operator-registry/pkg/image"
	"github.com/operator-framework/operator-registry/pkg/lib/config"
	"github.com/operator-framework/operator-registry/pkg/registry"
)

// bundleDirs are where the bundles of a catalog are, by the names of their images.
type bundleDirs map[string]string

// String returns the names.
func (d bundleDirs) String() string { return fmt.Sprint(map[string]string(d)) }

// Set adds "image=directory".
func (d bundleDirs) Set(value string) error {
	name, dir, found := strings.Cut(value, "=")
	if !found {
		return fmt.Errorf("%q is no bundle: give image=directory", value)
	}
	d[name] = dir
	return nil
}

// writeCatalog writes the file-based catalog that a semver template describes into a directory of its own, and validates it as
// "opm validate" does. The template names images; the bundles in them are read from directories.
func writeCatalog(ctx context.Context, template string, bundles bundleDirs, dir string) error {
	text, err := os.Open(template)
	if err != nil {
		return err
	}
	defer text.Close()
	found, err := (&semver.Factory{}).CreateTemplate(bundles.render).Render(ctx, text)
	if err != nil {
		return fmt.Errorf("render the catalog's template %s: %w", template, err)
	}
	skipRanges(found)
	out := filepath.Join(dir, operatorName, "catalog.yaml")
	if err := os.MkdirAll(filepath.Dir(out), 0o755); err != nil {
		return err
	}
	file, err := os.Create(out)
	if err != nil {
		return err
	}
	if err := errors.Join(declcfg.WriteYAML(*found, file), file.Close()); err != nil {
		return fmt.Errorf("write %s: %w", out, err)
	}
	if err := config.Validate(ctx, os.DirFS(dir)); err != nil {
		return fmt.Errorf("the catalog in %s is not valid: %w", dir, err)
	}
	return nil
}

// skipRanges gives entries of channels the ranges of versions that their bundles replace, which the template leaves out. With them a
// catalog of one release upgrades every older one.
func skipRanges(catalog *declcfg.DeclarativeConfig) {
	ranges := map[string]string{}
	for _, bundle := range catalog.Bundles {
		for _, found := range bundle.Properties {
			var metadata property.CSVMetadata
			if found.Type == property.TypeCSVMetadata && json.Unmarshal(found.Value, &metadata) == nil {
				ranges[bundle.Name] = metadata.Annotations["olm.skipRange"]
			}
		}
	}
	for _, channel := range catalog.Channels {
		for i := range channel.Entries {
			channel.Entries[i].SkipRange = ranges[channel.Entries[i].Name]
		}
	}
}

// render reads the bundle of an image from its directory, to the same outcome as "opm render" of the image with the migration
// bundle-object-to-csv-metadata: the ClusterServiceVersion's metadata, and no manifests, which OLM takes from the image.
func (d bundleDirs) render(_ context.Context, name string) (*declcfg.DeclarativeConfig, error) {
	dir, is := d[name]
	if !is {
		return nil, fmt.Errorf("no directory was given for bundle %s", name)
	}
	input, err := registry.NewImageInput(image.SimpleReference(name), dir)
	if err != nil {
		return nil, fmt.Errorf("read the bundle in %s: %w", dir, err)
	}
	bundle := input.Bundle
	_, properties, err := registry.ObjectsAndPropertiesFromBundle(bundle)
	if err != nil {
		return nil, fmt.Errorf("read the bundle in %s: %w", dir, err)
	}
	csv, err := versionIn(bundle)
	if err != nil {
		return nil, fmt.Errorf("read the ClusterServiceVersion in %s: %w", dir, err)
	}
	properties = slices.DeleteFunc(properties, func(p property.Property) bool { return p.Type == property.TypeBundleObject })
	return &declcfg.DeclarativeConfig{Bundles: []declcfg.Bundle{{
		Schema: declcfg.SchemaBundle, Name: bundle.Name, Package: bundle.Package, Image: name,
		Properties: append(properties, property.MustBuildCSVMetadata(*csv)), RelatedImages: imagesOf(csv, name),
	}}}, nil
}

func versionIn(bundle *registry.Bundle) (*v1alpha1.ClusterServiceVersion, error) {
	for _, object := range bundle.Objects {
		if object.GetKind() != v1alpha1.ClusterServiceVersionKind {
			continue
		}
		var csv *v1alpha1.ClusterServiceVersion
		err := into(object, &csv)
		return csv, err
	}
	return nil, errors.New("there is none")
}

// imagesOf are those that a mirror of the catalog has to have: the bundle's own, and those that the ClusterServiceVersion names.
func imagesOf(csv *v1alpha1.ClusterServiceVersion, bundle string) []declcfg.RelatedImage {
	images := []declcfg.RelatedImage{{Image: bundle}}
	for _, related := range csv.Spec.RelatedImages {
		images = append(images, declcfg.RelatedImage{Name: related.Name, Image: related.Image})
	}
	slices.SortStableFunc(images, func(a, b declcfg.RelatedImage) int { return strings.Compare(a.Image, b.Image) })
	return images
}
