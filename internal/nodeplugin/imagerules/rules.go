package imagerules

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/distribution/reference"

	"github.com/image-csi/image-csi-operator/internal/contract"
)

// maxBytes is several times what the API allows for the list.
const maxBytes = 64 << 10

// ErrRefused means that the driver's rules do not let an image be a volume.
var ErrRefused = errors.New("the driver's rules do not allow it")

// Rules are the administrator's rules for images. The zero value allows every image.
type Rules struct {
	allowed []string
	pinned  bool
	content []contract.ImageContent
}

// Parse reads rules in the form of contract.ImageRules. An unknown field may be a rule that it cannot enforce,
// so it is an error, too.
func Parse(text []byte) (Rules, error) {
	if len(text) > maxBytes {
		return Rules{}, fmt.Errorf("more than %d bytes", maxBytes)
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	var file *contract.ImageRules
	if err := decoder.Decode(&file); err != nil {
		return Rules{}, fmt.Errorf("not the rules that this release of the node plugin knows: %w", err)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) || file == nil {
		return Rules{}, errors.New("not one JSON object")
	}
	if slices.Contains(file.AllowedImages, "") {
		return Rules{}, errors.New("an allowed image without a name")
	}
	switch file.ImagePinning {
	case "", contract.PinningOptional, contract.PinningDigest:
	default:
		return Rules{}, fmt.Errorf("unknown image pinning %.80q", file.ImagePinning)
	}
	for _, kind := range file.RefusedContent {
		_, err := contract.Parse(string(kind), contract.ContentSetIDFiles, contract.ContentFileCapabilities, contract.ContentDeviceNodes)
		if err != nil {
			return Rules{}, fmt.Errorf("unknown content: %w", err)
		}
	}
	return Rules{allowed: file.AllowedImages, pinned: file.ImagePinning == contract.PinningDigest, content: file.RefusedContent}, nil
}

// Check returns nil if an image, by its normalised name, may be a volume, else a sentence for the pod's owner that wraps
// ErrRefused.
func (r Rules) Check(image reference.Named) error {
	if len(r.allowed) > 0 && !slices.ContainsFunc(r.allowed, func(entry string) bool { return covers(entry, image.Name()) }) {
		return fmt.Errorf("image %s may not be a volume: %w; use an allowed image, or ask the administrator to extend "+
			"spec.security.allowedImages of the ImageCSIDriver; allowed are %s", image, ErrRefused, listed(r.allowed))
	}
	if _, digested := image.(reference.Digested); r.pinned && !digested {
		return fmt.Errorf("image %s may not be a volume: %w; name it by digest, as in %s@sha256:…", image, ErrRefused, image.Name())
	}
	return nil
}

// listed returns as much of a list as leaves room for the rest of an event.
func listed(entries []string) string {
	const most = 400
	text := entries[0]
	for i, entry := range entries[1:] {
		if len(text)+len(entry) > most {
			return fmt.Sprintf("%s and %d more", text, len(entries)-i-1)
		}
		text += ", " + entry
	}
	return text
}

// covers reports whether an entry of the list is a repository, or a path above it, which ends with a slash.
func covers(entry, repository string) bool {
	if strings.HasSuffix(entry, "/") {
		return strings.HasPrefix(repository, entry)
	}
	return repository == entry
}
