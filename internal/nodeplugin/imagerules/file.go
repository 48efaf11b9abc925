package imagerules

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/distribution/reference"

	"github.com/image-csi/image-csi-operator/internal/contract"
)

// ErrUnknown means that the rules cannot be read, so that no image is known to be allowed.
var ErrUnknown = errors.New("the driver's rules for images cannot be read")

// File is where the driver's rules are mounted. It is read for every volume, so a change applies to the next
// volume. The empty path allows every image.
type File string

// Check returns no error if an image may be a volume by its name, and what its tree must not hold. Errors wrap ErrRefused or
// ErrUnknown.
func (f File) Check(image reference.Named) (refusedContent []contract.ImageContent, err error) {
	rules, err := f.read()
	if err != nil {
		return nil, fmt.Errorf("image %s may not be a volume while %w", image, err)
	}
	return rules.content, rules.Check(image)
}

// Ready returns nil if the rules can be read.
func (f File) Ready(context.Context) error {
	_, err := f.read()
	return err
}

func (f File) read() (Rules, error) {
	if f == "" {
		return Rules{}, nil
	}
	text, err := readBounded(string(f))
	if err != nil {
		return Rules{}, fmt.Errorf("%w: %w", ErrUnknown, err)
	}
	rules, err := Parse(text)
	if err != nil {
		return Rules{}, fmt.Errorf("%w: %s holds %w; the operator writes it from spec.security of the ImageCSIDriver", ErrUnknown, f, err)
	}
	return rules, nil
}

// readBounded reads at most one byte more than a file may have.
func readBounded(path string) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return io.ReadAll(io.LimitReader(file, maxBytes+1))
}
