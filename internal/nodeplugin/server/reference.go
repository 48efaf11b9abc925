package server

import (
	"strconv"
	"strings"
	"unicode"

	"github.com/distribution/reference"

	"github.com/image-csi/image-csi-operator/internal/contract"
	"github.com/image-csi/image-csi-operator/internal/nodeplugin/words"
)

// parseReference normalises an image's name as the runtimes do: short names get Docker Hub's host, a missing tag is
// "latest", and a tag beside a digest is dropped. One image has one name from here on.
func parseReference(image string) (reference.Named, error) {
	switch {
	case image == "":
		return nil, invalid("the volume names no image; set the volume attribute %s, such as %s: registry.example/team/app:1.0",
			contract.ImageAttribute, contract.ImageAttribute)
	case len(image) > contract.MaxReference:
		return nil, invalid("the image reference %q has %d bytes, and %d are allowed", words.Shorten(image, 80), len(image), contract.MaxReference)
	}
	named, err := reference.ParseDockerRef(image)
	if err != nil {
		// The library's words repeat what it was given.
		return nil, invalid("%s is not an image reference (%s); one looks like registry.example/team/app:1.0",
			words.Shorten(strconv.Quote(image), 256), words.Shorten(strings.Map(printable, err.Error()), 256))
	}
	return named, nil
}

// printable leaves out what would not show on one line.
func printable(r rune) rune {
	if unicode.IsPrint(r) {
		return r
	}
	return -1
}
