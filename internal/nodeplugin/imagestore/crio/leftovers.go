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

	"github.com/image-csi/image-csi-operator/internal/nodeplugin/legacy/leftover"
)

var _ leftover.Store = (*Store)(nil)

// leftoverMetadata is the legacy driver's metadata of a storage container that is mounted read-only. It has numbered
// entries; this one, the set of its targets, is the only one that the driver writes. A writable container has no metadata.
type leftoverMetadata struct {
	Targets map[string]struct{} `json:"1"`
}

// Leftovers implements leftover.Store.
func (s *Store) Leftovers(ctx context.Context) ([]leftover.Leftover, error) {
	return within(ctx, s, "listing what the legacy driver keeps in CRI-O's store", func() ([]leftover.Leftover, error) {
		containers, err := s.storage.Containers()
		if err != nil {
			return nil, err
		}
		var found []leftover.Leftover
		for _, c := range containers {
			left, ok, err := s.readLeftover(c)
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

// readLeftover reads a storage container of the legacy driver. ok is false for a container in none of the forms that it makes.
func (s *Store) readLeftover(c storage.Container) (leftover.Leftover, bool, error) {
	volumeID, ok := leftover.Key(c.ID)
	if !ok {
		return leftover.Leftover{}, false, nil
	}
	left := leftover.Leftover{Name: c.ID, Created: c.Created}
	if c.Metadata != "" {
		var about leftoverMetadata
		if err := json.Unmarshal([]byte(c.Metadata), &about); err != nil || len(about.Targets) == 0 {
			return leftover.Leftover{}, false, nil //nolint:nilerr // a container in another form is not the legacy driver's
		}
		left.Targets = slices.Sorted(maps.Keys(about.Targets))
		return left, true, nil
	}
	driver, err := s.storage.GraphDriver()
	if err != nil {
		return leftover.Leftover{}, false, fmt.Errorf("opening the graph driver: %w", err)
	}
	where, err := driver.Metadata(c.LayerID)
	if err != nil {
		return leftover.Leftover{}, false, fmt.Errorf("looking for the directories of container %s: %w", c.ID, err)
	}
	left.VolumeID, left.Upper, left.Work = volumeID, where["UpperDir"], where["WorkDir"]
	if lower := where["LowerDir"]; lower != "" && left.Upper != "" && left.Work != "" {
		left.Layers = strings.Split(lower, ":")
	}
	return left, true, nil
}

// RemoveLeftover implements leftover.Store. The library unmounts the container's own mount first.
func (s *Store) RemoveLeftover(ctx context.Context, name string) error {
	if _, ok := leftover.Key(name); !ok {
		return fmt.Errorf("storage container %q is not the legacy driver's", name)
	}
	return throughout(ctx, s, "removing container "+name+" of the legacy driver from CRI-O's store", func() error {
		err := s.storage.DeleteContainer(name)
		if errors.Is(err, storage.ErrNotAContainer) || errors.Is(err, storage.ErrContainerUnknown) {
			err = nil
		}
		return err
	})
}
