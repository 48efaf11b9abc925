package pull

import (
	"fmt"
	"strings"
)

// Policy selects when an image is pulled; the names and meanings are those of a container's imagePullPolicy.
type Policy string

const (
	// Always pulls even when the image is present, so that a moved tag is noticed.
	Always Policy = "Always"

	// IfNotPresent pulls when the runtime does not hold the image.
	IfNotPresent Policy = "IfNotPresent"

	// Never refuses an image that the runtime does not hold.
	Never Policy = "Never"
)

// ParsePolicy reads a policy in any case.
func ParsePolicy(s string) (Policy, error) {
	for _, p := range []Policy{Always, IfNotPresent, Never} {
		if strings.EqualFold(s, string(p)) {
			return p, nil
		}
	}
	return "", fmt.Errorf("pull policy %q is not one of %s, %s, %s", bounded(s, 64), Always, IfNotPresent, Never)
}
