package crio

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"go.podman.io/storage"
)

// checkPlatform returns imagestore.ErrOtherPlatform for an image that is refused. Its configuration tells the platform, and
// CRI-O keeps that by its digest. Where there is none, the image is for every node.
func (s *Store) checkPlatform(image *storage.Image) error {
	var manifest ocispec.Manifest
	var config ocispec.Image
	err := s.read(image, storage.ImageDigestBigDataKey, &manifest)
	if err == nil && manifest.Config.Digest != "" {
		err = s.read(image, manifest.Config.Digest.String(), &config)
	}
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil
	case err != nil:
		return err
	}
	return s.others.Check(config.Platform)
}

// read reads what the store keeps with an image under a key, which is JSON. os.ErrNotExist if there is nothing.
func (s *Store) read(image *storage.Image, key string, into any) error {
	content, err := s.storage.ImageBigData(image.ID, key)
	if err == nil {
		err = json.Unmarshal(content, into)
	}
	if err != nil {
		return fmt.Errorf("reading %q of image %s: %w", key, image.ID, err)
	}
	return nil
}
