package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/image-csi/image-csi-operator/hack/cluster/image"
)

// refName is the annotation that names an image in a layout (OCI image specification, "Image Layout").
const refName = "org.opencontainers.image.ref.name"

// inventoryType is CycloneDX's media type, and the artifact type of what refers to an image as its inventory.
const inventoryType = types.MediaType("application/vnd.cyclonedx+json")

// writeLayout writes the image of every architecture and its inventory, and returns the digest of the index over them.
func (p product) writeLayout(ctx context.Context, r release, b builds, dir string) (v1.Hash, error) {
	path, err := layout.Write(filepath.Join(dir, p.dir), empty.Index)
	if err != nil {
		return v1.Hash{}, fmt.Errorf("write an OCI layout: %w", err)
	}
	index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	var inventories []v1.Image
	for _, architecture := range r.architectures {
		made, inventory, err := p.assemble(ctx, r, b, architecture)
		if err != nil {
			return v1.Hash{}, fmt.Errorf("assemble the image for %s: %w", architecture, err)
		}
		platform := v1.Platform{OS: "linux", Architecture: architecture}
		index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: made, Descriptor: v1.Descriptor{Platform: &platform}})
		if err := os.WriteFile(filepath.Join(dir, p.inventoryFile(architecture)), inventory, 0o644); err != nil {
			return v1.Hash{}, err
		}
		about, err := referTo(made, inventory)
		if err != nil {
			return v1.Hash{}, err
		}
		inventories = append(inventories, about)
	}
	if err := path.AppendIndex(index, layout.WithAnnotations(map[string]string{refName: r.tag()})); err != nil {
		return v1.Hash{}, fmt.Errorf("write the image: %w", err)
	}
	for _, about := range inventories {
		if err := path.AppendImage(about); err != nil {
			return v1.Hash{}, fmt.Errorf("write an inventory: %w", err)
		}
	}
	return index.Digest()
}

// assemble makes an image, whose lowest layer changes least, and its inventory.
func (p product) assemble(ctx context.Context, r release, b builds, architecture string) (v1.Image, []byte, error) {
	files := p.built(b, architecture)
	linked, err := modules(files)
	if err != nil {
		return nil, nil, err
	}
	texts, err := p.textLayer(ctx, r, linked)
	if err != nil {
		return nil, nil, err
	}
	layers := []v1.Layer{texts}
	for i, target := range p.programs {
		layer, err := image.ProgramLayer(files[i], target)
		if err != nil {
			return nil, nil, err
		}
		layers = append(layers, layer)
	}
	config := p.config
	config.Labels = p.labels(r)
	made, err := image.NewFor(architecture, config, layers...)
	if err != nil {
		return nil, nil, err
	}
	made = mutate.ConfigMediaType(mutate.MediaType(made, types.OCIManifestSchema1), types.OCIConfigJSON)
	document, err := inventory(r, imageName+p.suffix, architecture, linked)
	return made, document, err
}

// textLayer has the certificates that programs trust, the terms of the project and of all that is linked into it, and the image's own files.
func (p product) textLayer(ctx context.Context, r release, linked []debug.Module) (v1.Layer, error) {
	roots, err := certificates()
	if err != nil {
		return nil, err
	}
	own, err := os.ReadFile(filepath.Join(r.root, "LICENSE"))
	if err != nil {
		return nil, err
	}
	others, err := notices(ctx, r.root, p.modules, linked)
	if err != nil {
		return nil, err
	}
	files, err := p.files(r.root)
	if err != nil {
		return nil, err
	}
	return image.Layer(append([]image.File{
		{Path: "/etc/ssl/certs/ca-certificates.crt", Content: roots},
		{Path: "/licenses/LICENSE", Content: own},
		{Path: "/licenses/NOTICES", Content: others},
	}, files...)...)
}

// labels are those of the OCI image specification, "Annotations".
func (p product) labels(r release) map[string]string {
	const page = "https://github.com/image-csi/image-csi-operator"
	return map[string]string{
		"org.opencontainers.image.title":         imageName + p.suffix,
		"org.opencontainers.image.description":   p.description,
		"org.opencontainers.image.version":       r.tag(),
		"org.opencontainers.image.licenses":      "Apache-2.0",
		"org.opencontainers.image.source":        page,
		"org.opencontainers.image.documentation": page + "/blob/" + r.tag() + "/README.md",
	}
}

// referTo is an artifact that refers to an image, and holds its inventory (OCI image specification, "Guidelines for Artifact Usage").
func referTo(subject v1.Image, inventory []byte) (v1.Image, error) {
	descriptor, err := partial.Descriptor(subject)
	if err != nil {
		return nil, err
	}
	artifact := mutate.MediaType(empty.Image, types.OCIManifestSchema1)
	artifact = mutate.ConfigMediaType(artifact, inventoryType)
	artifact, err = mutate.AppendLayers(artifact, static.NewLayer(inventory, inventoryType))
	if err != nil {
		return nil, fmt.Errorf("make an inventory an artifact: %w", err)
	}
	about, ok := mutate.Subject(artifact, v1.Descriptor{MediaType: descriptor.MediaType, Size: descriptor.Size, Digest: descriptor.Digest}).(v1.Image)
	if !ok {
		return nil, fmt.Errorf("make an inventory refer to %s: it is no image", descriptor.Digest)
	}
	return about, nil
}
