package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// push copies the images of a release into a repository and the one beside it. What names the images goes beside them at the end: the
// images for OLM, and the Helm chart. Credentials are those of "docker login".
func push(ctx context.Context, dir, repository string, plain bool) error {
	if err := checkRepository(repository); err != nil {
		return err
	}
	var options []name.Option
	if plain {
		options = append(options, name.Insecure)
	}
	with := []remote.Option{remote.WithContext(ctx), remote.WithAuthFromKeychain(authn.DefaultKeychain)}
	for _, p := range []product{operator(), gatherer()} {
		to, err := name.NewRepository(repository+p.suffix, options...)
		if err != nil {
			return err
		}
		if err := p.push(dir, to, with); err != nil {
			return err
		}
	}
	if err := pushOLM(dir, repository, options, with); err != nil {
		return err
	}
	return pushChart(dir, repository, options, with)
}

// push copies an image, with its inventories: by digest first, and the tag last, so that a tag never names half an image.
func (p product) push(dir string, to name.Repository, with []remote.Option) error {
	index, err := layout.ImageIndexFromPath(filepath.Join(dir, p.dir))
	if err != nil {
		return fmt.Errorf("read the release in %s: %w; make one first", dir, err)
	}
	list, err := index.IndexManifest()
	if err != nil {
		return fmt.Errorf("read the release in %s: %w", dir, err)
	}
	var image v1.ImageIndex
	var tag string
	for _, descriptor := range list.Manifests {
		if named := descriptor.Annotations[refName]; named != "" {
			if image, err = index.ImageIndex(descriptor.Digest); err != nil {
				return err
			}
			tag = named
			if err := remote.WriteIndex(to.Digest(descriptor.Digest.String()), image, with...); err != nil {
				return fmt.Errorf("push the image to %s: %w", to, err)
			}
			continue
		}
		about, err := index.Image(descriptor.Digest)
		if err != nil {
			return err
		}
		if err := remote.Write(to.Digest(descriptor.Digest.String()), about, with...); err != nil {
			return fmt.Errorf("push an inventory to %s: %w", to, err)
		}
	}
	if image == nil {
		return errors.New("the release in " + dir + " has no image")
	}
	if err := remote.Tag(to.Tag(tag), image, with...); err != nil {
		return fmt.Errorf("tag the image in %s: %w", to, err)
	}
	digest, err := image.Digest()
	if err != nil {
		return err
	}
	fmt.Printf("%s:%s@%s\n", to, tag, digest)
	return nil
}
