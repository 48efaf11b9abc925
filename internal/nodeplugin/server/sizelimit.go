package server

import (
	"fmt"

	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/image-csi/image-csi-operator/internal/contract"
)

const (
	// minSizeLimit leaves room for what a file system needs to keep a few files.
	minSizeLimit = 1 << 20

	// maxQuantity is more than any quantity that people write.
	maxQuantity = 64
)

// SizeLimits are the driver's limits, in bytes, on what writable volumes hold; 0 is none.
type SizeLimits struct {
	Default int64 // of volumes that name no limit
	Max     int64 // that a volume may name; also of volumes that name none if there is no default
}

// of returns the size limit of a writable volume with the given attributes, 0 for none.
func (s SizeLimits) of(attributes map[string]string) (int64, error) {
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
	if len(text) > maxQuantity {
		return 0, invalid("volume attribute %s: %q is too long for a quantity such as 500Mi", contract.SizeLimitAttribute, clip(text, 80))
	}
	quantity, err := resource.ParseQuantity(text)
	if err != nil {
		return 0, invalid("volume attribute %s: %q is not a quantity such as 500Mi", contract.SizeLimitAttribute, text)
	}
	limit := quantity.Value() // rounded up, and cut to what an int64 holds
	switch {
	case limit < minSizeLimit:
		return 0, invalid("volume attribute %s: %s is less than 1Mi", contract.SizeLimitAttribute, text)
	case s.Max > 0 && limit > s.Max:
		return 0, invalid("volume attribute %s: %s is more than the driver allows, %s", contract.SizeLimitAttribute, text,
			resource.NewQuantity(s.Max, resource.BinarySI))
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
		quantity, err := resource.ParseQuantity(text)
		if err != nil || quantity.Value() < minSizeLimit {
			return s, fmt.Errorf("%q is not a quantity of at least 1Mi", text)
		}
		*limit = quantity.Value()
	}
	if s.Max > 0 && s.Default > s.Max {
		return s, fmt.Errorf("the default %s is more than the largest limit %s", byDefault, most)
	}
	return s, nil
}
