package crio

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"go.podman.io/storage"

	"github.com/image-csi/image-csi-operator/internal/nodeplugin/imagestore"
)

// checkPlatform returns imagestore.ErrOtherPlatform for an image that is refused. The image's configuration names the
// platform, and CRI-O keeps the configuration by its digest. Without one, the image is for every node. The image's author
// wrote both.
func (s *Store) checkPlatform(image *storage.Image) error {
	var manifest ocispec.Manifest
	var platform ocispec.Platform
	err := s.read(image, storage.ImageDigestBigDataKey, &manifest)
	if config := manifest.Config.Digest; err == nil && config != "" {
		if config.Validate() != nil {
			return fmt.Errorf("%w: its manifest names the configuration %.80q, which is no digest; build and push it again", imagestore.ErrUnsupported, config)
		}
		err = s.read(image, config.String(), &platform)
	}
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil
	case err != nil:
		return err
	}
	return imagestore.CheckPlatform(s.others, platform)
}

// read reads the JSON that the store keeps with an image under a key. os.ErrNotExist if there is none.
func (s *Store) read(image *storage.Image, key string, into any) error {
	content, err := s.storage.ImageBigData(image.ID, key)
	if err != nil {
		return fmt.Errorf("reading %q of image %s: %w", key, image.ID, err)
	}
	if err := json.Unmarshal(content, into); err != nil {
		return fmt.Errorf("%w: its manifest or configuration is not as the OCI image specification has it (%.128s); build and push it again",
			imagestore.ErrUnsupported, err.Error()) // which may quote it
	}
	return nil
}
