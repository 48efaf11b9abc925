package crio

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"go.podman.io/storage"

	"github.com/image-csi/image-csi-operator/internal/nodeplugin/imagestore"
)

var _ imagestore.Adopter = (*Store)(nil)

// leftoverMetadata is what the legacy driver says about a storage container that is mounted read-only. It keeps
// numbered entries; this one, a set of its targets, is the only one it writes. A writable one has no metadata.
type leftoverMetadata struct {
	Targets map[string]struct{} `json:"1"`
}

// Leftovers implements imagestore.Adopter.
func (s *Store) Leftovers(ctx context.Context) ([]imagestore.Leftover, error) {
	return within(ctx, s, "listing what the legacy driver keeps in CRI-O's store", func() ([]imagestore.Leftover, error) {
		containers, err := s.storage.Containers()
		if err != nil {
			return nil, err
		}
		var found []imagestore.Leftover
		for _, c := range containers {
			left, ok, err := s.leftover(c)
			if err != nil {
				return nil, err
			}
			if ok {
				found = append(found, left)
			}
		}
		return found, nil
	})
}

// leftover reads a storage container of the legacy driver. What is in none of the forms that it makes is not one.
func (s *Store) leftover(c storage.Container) (imagestore.Leftover, bool, error) {
	volumeID, ok := imagestore.LeftoverKey(c.ID)
	if !ok {
		return imagestore.Leftover{}, false, nil
	}
	left := imagestore.Leftover{Name: c.ID, Created: c.Created}
	if c.Metadata != "" {
		var about leftoverMetadata
		if err := json.Unmarshal([]byte(c.Metadata), &about); err != nil || len(about.Targets) == 0 {
			return imagestore.Leftover{}, false, nil //nolint:nilerr // what is not in that form is somebody else's
		}
		left.Targets = slices.Sorted(maps.Keys(about.Targets))
		return left, true, nil
	}
	driver, err := s.storage.GraphDriver()
	if err != nil {
		return imagestore.Leftover{}, false, fmt.Errorf("opening the graph driver: %w", err)
	}
	where, err := driver.Metadata(c.LayerID)
	if err != nil {
		return imagestore.Leftover{}, false, fmt.Errorf("looking for the directories of container %s: %w", c.ID, err)
	}
	left.VolumeID, left.Upper, left.Work = volumeID, where["UpperDir"], where["WorkDir"]
	if lower := where["LowerDir"]; lower != "" && left.Upper != "" && left.Work != "" {
		left.Layers = strings.Split(lower, ":")
	}
	return left, true, nil
}

// RemoveLeftover implements imagestore.Adopter. The library takes the container's own mount away first.
func (s *Store) RemoveLeftover(ctx context.Context, name string) error {
	if _, ok := imagestore.LeftoverKey(name); !ok {
		return fmt.Errorf("storage container %q is not one of the legacy driver", name)
	}
	return throughout(ctx, s, "removing container "+name+" of the legacy driver from CRI-O's store", func() error {
		err := s.storage.DeleteContainer(name)
		if errors.Is(err, storage.ErrNotAContainer) || errors.Is(err, storage.ErrContainerUnknown) {
			err = nil
		}
		return err
	})
}
