package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"sigs.k8s.io/yaml"

	"github.com/image-csi/image-csi-operator/hack/cluster/image"
)

const (
	// olmDir is the OCI layout of the images that OLM installs from. Its index names each by its kind and tag.
	olmDir = "olm"

	// configsLabel says where a catalog's files are in its image (operator-registry, "File-based catalogs").
	configsLabel = "operators.operatorframework.io.index.configs.v1"
	configsDir   = "/configs"

	// These are what config/ calls the images before they have a digest.
	templateBundle   = "ghcr.io/image-csi/image-csi-operator-bundle:v"
	templateCatalog  = "ghcr.io/image-csi/image-csi-operator-catalog:v"
	templateGatherer = "ghcr.io/image-csi/image-csi-operator-must-gather:v"
)

// olm writes the bundle's image, the catalog that names it by its digest, the catalog's image, and the catalog source that names that.
func (r release) olm(ctx context.Context, work, dir string) error {
	bundle, err := bundleImage(filepath.Join(dir, "bundle"))
	if err != nil {
		return fmt.Errorf("assemble the bundle's image: %w", err)
	}
	bundleName, err := r.named("bundle", bundle)
	if err != nil {
		return err
	}
	template := filepath.Join(work, "config", "catalog", "template.yaml")
	if err := setName(template, templateBundle, bundleName); err != nil {
		return err
	}
	made := filepath.Join(dir, "catalog")
	if err := tool(ctx, r.root, "bundle", "-catalog", made, "-template", template, "-bundle", bundleName+"="+filepath.Join(dir, "bundle")); err != nil {
		return fmt.Errorf("make the catalog: %w", err)
	}
	catalog, err := filesImage(made, configsDir, map[string]string{configsLabel: configsDir})
	if err != nil {
		return fmt.Errorf("assemble the catalog's image: %w", err)
	}
	catalogName, err := r.named("catalog", catalog)
	if err != nil {
		return err
	}
	if err := setName(filepath.Join(dir, "config", "olm", "catalog_source.yaml"), templateCatalog, catalogName); err != nil {
		return err
	}
	to, err := layout.Write(filepath.Join(dir, olmDir), empty.Index)
	if err != nil {
		return fmt.Errorf("write an OCI layout: %w", err)
	}
	return errors.Join(
		to.AppendImage(bundle, layout.WithAnnotations(map[string]string{refName: "bundle:" + r.tag()})),
		to.AppendImage(catalog, layout.WithAnnotations(map[string]string{refName: "catalog:" + r.tag()})),
	)
}

// named is an image's name by its digest, in the repository beside the operator's.
func (r release) named(kind string, made v1.Image) (string, error) {
	digest, err := made.Digest()
	return r.repository + "-" + kind + "@" + digest.String(), err
}

// setName replaces the name of an image, of whatever version, in a file.
func setName(file, prefix, name string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	before, after, found := strings.Cut(string(text), prefix)
	if !found || strings.Contains(after, prefix) {
		return fmt.Errorf("%s does not name %s once", file, prefix)
	}
	_, rest, _ := strings.Cut(after, "\n")
	return os.WriteFile(file, []byte(before+name+"\n"+rest), 0o644)
}

// bundleImage has a bundle's files at its root, and its annotations as labels, too (operator-registry, "Operator Bundle").
func bundleImage(dir string) (v1.Image, error) {
	text, err := os.ReadFile(filepath.Join(dir, "metadata", "annotations.yaml"))
	if err != nil {
		return nil, err
	}
	var metadata struct{ Annotations map[string]string }
	if err := yaml.Unmarshal(text, &metadata); err != nil {
		return nil, err
	}
	return filesImage(dir, "/", metadata.Annotations)
}

// filesImage has the files of a directory below another in one layer. It has no programs, so it suits every architecture, and names one
// because an image has to.
func filesImage(dir, below string, labels map[string]string) (v1.Image, error) {
	var files []image.File
	err := fs.WalkDir(os.DirFS(dir), ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := os.ReadFile(filepath.Join(dir, name))
		files = append(files, image.File{Path: path.Join(below, name), Content: content})
		return err
	})
	if err != nil {
		return nil, err
	}
	layer, err := image.Layer(files...)
	if err != nil {
		return nil, err
	}
	made, err := image.NewFor(architectures[0], v1.Config{Labels: labels}, layer)
	if err != nil {
		return nil, err
	}
	return mutate.ConfigMediaType(mutate.MediaType(made, types.OCIManifestSchema1), types.OCIConfigJSON), nil
}

// pushOLM copies the images that OLM installs from into the repositories beside the operator's.
func pushOLM(dir, repository string, options []name.Option, with []remote.Option) error {
	index, err := layout.ImageIndexFromPath(filepath.Join(dir, olmDir))
	if err != nil {
		return fmt.Errorf("read the images for OLM in %s: %w", dir, err)
	}
	list, err := index.IndexManifest()
	if err != nil {
		return fmt.Errorf("read the images for OLM in %s: %w", dir, err)
	}
	for _, descriptor := range list.Manifests {
		kind, tag, _ := strings.Cut(descriptor.Annotations[refName], ":")
		to, err := name.NewTag(repository+"-"+kind+":"+tag, options...)
		if err != nil {
			return err
		}
		made, err := index.Image(descriptor.Digest)
		if err != nil {
			return err
		}
		if err := remote.Write(to, made, with...); err != nil {
			return fmt.Errorf("push the image of the %s to %s: %w", kind, to, err)
		}
		fmt.Printf("%s@%s\n", to, descriptor.Digest)
	}
	return nil
}
