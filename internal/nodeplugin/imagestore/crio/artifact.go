package crio

import (
	"encoding/json"
	"os"
	"path/filepath"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// isArtifact reports whether CRI-O holds what a reference names as an OCI artifact. It pulls artifacts like images,
// and keeps them as blobs of an OCI layout beside the store. What cannot be read is not an artifact.
func (s *Store) isArtifact(reference string) bool {
	content, err := os.ReadFile(filepath.Join(s.storage.GraphRoot(), "artifacts", ocispec.ImageIndexFile))
	if err != nil {
		return false
	}
	var index ocispec.Index
	if err := json.Unmarshal(content, &index); err != nil {
		return false
	}
	for _, manifest := range index.Manifests {
		if manifest.Annotations[ocispec.AnnotationRefName] == reference {
			return true
		}
	}
	return false
}
