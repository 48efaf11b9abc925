package server

import (
	"errors"
	"fmt"

	"github.com/image-csi/image-csi-operator/internal/contract"
	"github.com/image-csi/image-csi-operator/internal/quantity"
)

// minSizeLimit leaves room for what a file system needs to keep a few files.
const minSizeLimit = 1 << 20

// SizeLimits are the driver's limits, in bytes, on what writable volumes hold; 0 is none.
type SizeLimits struct {
	Default int64 // of volumes that name no limit
	Max     int64 // that a volume may name; also of volumes that name none if there is no default
}

// limitOf returns the size limit of a writable volume with the given attributes, 0 for none.
func (s SizeLimits) limitOf(attributes map[string]string) (int64, error) {
	text := attributes[contract.SizeLimitAttribute]
	switch {
	case text != "":
		return s.named(text)
	case s.Default > 0:
		return s.Default, nil
	default:
		return s.Max, nil
	}
}

func (s SizeLimits) named(text string) (int64, error) {
	limit, err := quantity.Parse(text)
	switch {
	case errors.Is(err, quantity.ErrTooLarge) && s.Max > 0, err == nil && s.Max > 0 && limit > s.Max:
		return 0, invalid("volume attribute %s: %s is more than the driver allows, %s", contract.SizeLimitAttribute, text, quantity.Format(s.Max))
	case err != nil:
		return 0, invalid("volume attribute %s: %v", contract.SizeLimitAttribute, err)
	case limit < minSizeLimit:
		return 0, invalid("volume attribute %s: %s is less than 1Mi", contract.SizeLimitAttribute, text)
	}
	return limit, nil
}

// ParseSizeLimits reads a driver's limits; empty is none.
func ParseSizeLimits(byDefault, most string) (SizeLimits, error) {
	var s SizeLimits
	for limit, text := range map[*int64]string{&s.Default: byDefault, &s.Max: most} {
		if text == "" {
			continue
		}
		bytes, err := quantity.Parse(text)
		switch {
		case err != nil:
			return s, err
		case bytes < minSizeLimit:
			return s, fmt.Errorf("%q is less than 1Mi", text)
		}
		*limit = bytes
	}
	if s.Max > 0 && s.Default > s.Max {
		return s, fmt.Errorf("the default %s is more than the largest limit %s", byDefault, most)
	}
	return s, nil
}
