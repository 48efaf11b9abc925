package containerd

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/identity"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/image-csi/image-csi-operator/internal/nodeplugin/hostmount"
	"github.com/image-csi/image-csi-operator/internal/nodeplugin/imagestore"
)

// described is the part of an image's manifest and configuration that is used. The image's author wrote them, so all of it was
// checked.
type described struct {
	platform ocispec.Platform

	// layers are the digests of the manifest's layers, and diffs what they unpack to according to the configuration, bottom
	// first. There are equally many of both, at least one, and all are SHA-256, which is what containerd measures.
	layers, diffs []digest.Digest

	// measured are what containerd unpacked from the layers; empty for one that it has not measured.
	measured []digest.Digest
}

// tree returns the chain ID of the image's top layer: the name of its snapshot and of its tree.
func (d described) tree() digest.Digest { return identity.ChainID(d.diffs) }

// describe reads an image's configuration and the layers of its manifest. Its errors are imagestore.ErrUnsupported.
func describe(manifest ocispec.Manifest, text []byte) (described, error) {
	var config struct { // only what has to be valid
		ocispec.Platform
		RootFS ocispec.RootFS `json:"rootfs"`
	}
	if err := json.Unmarshal(text, &config); err != nil {
		return described{}, fmt.Errorf("%w: its configuration is not as the OCI image specification has it (%.128s); build and push it again",
			imagestore.ErrUnsupported, err.Error()) // which may quote it
	}
	d := described{platform: config.Platform, layers: layersOf(manifest), diffs: config.RootFS.DiffIDs}
	if err := d.check(config.RootFS.Type, len(manifest.Layers)); err != nil {
		return described{}, fmt.Errorf("%w: %w", imagestore.ErrUnsupported, err)
	}
	return d, nil
}

// layersOf returns the digests of a manifest's layers, which may be anything.
func layersOf(manifest ocispec.Manifest) (layers []digest.Digest) {
	for _, layer := range manifest.Layers {
		if images.IsLayerType(layer.MediaType) { // containerd ignores the others
			layers = append(layers, layer.Digest)
		}
	}
	return layers
}

// check refuses images that cannot be mounted. containerd does not unpack some of them either, and would then show whatever
// layers the configuration names.
func (d described) check(kind string, blobs int) error {
	switch {
	case len(d.diffs) == 0 && blobs > 0:
		return errors.New("it is an OCI artifact, whose layers are no file system; push its files as a container image")
	case len(d.diffs) == 0:
		return errors.New("it has no layers")
	case kind != "layers" && kind != "": // containerd treats an empty type as "layers"
		return fmt.Errorf("its configuration has a root file system of type %.32q, and only %q can be mounted; build and push it again", kind, "layers")
	case len(d.diffs) > hostmount.MaxLayers:
		// Before a costly unpack, although a snapshotter with full copies could show it.
		return fmt.Errorf("it has %d layers, and the kernel stacks at most %d; flatten the image", len(d.diffs), hostmount.MaxLayers)
	case len(d.layers) != len(d.diffs):
		return fmt.Errorf("its manifest has %d layers and its configuration %d; build and push it again", len(d.layers), len(d.diffs))
	}
	for i := range d.diffs {
		if !isSHA256(d.layers[i]) {
			return fmt.Errorf("its manifest names layer %d %.80q, which is no SHA-256 digest; build and push it again", i+1, d.layers[i])
		}
		if !isSHA256(d.diffs[i]) {
			return fmt.Errorf("its configuration names layer %d %.80q, which is no SHA-256 digest; build and push it again", i+1, d.diffs[i])
		}
	}
	return nil
}

// isSHA256 reports whether a digest is one, and of the only algorithm that containerd computes.
func isSHA256(id digest.Digest) bool { return id.Validate() == nil && id.Algorithm() == digest.SHA256 }
