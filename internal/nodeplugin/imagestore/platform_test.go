package imagestore

import (
	"errors"
	"runtime"
	"strings"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/image-csi/image-csi-operator/internal/contract"
)

func TestAnImageOfAnotherPlatformIsRefusedUnlessItIsToBeMounted(t *testing.T) {
	if runtime.GOARCH != "amd64" && runtime.GOARCH != "arm64" {
		t.Skip("the cases are for amd64 and arm64")
	}
	same := map[string]string{"amd64": "x86_64", "arm64": "aarch64"}[runtime.GOARCH]
	smaller := map[string]string{"amd64": "386", "arm64": "arm"}[runtime.GOARCH]
	other := map[string]string{"amd64": "arm64", "arm64": "amd64"}[runtime.GOARCH]
	for name, c := range map[string]struct {
		image   ocispec.Platform
		refused bool
	}{
		"none":                  {},
		"the node's":            {image: ocispec.Platform{OS: "linux", Architecture: runtime.GOARCH}},
		"the same by its alias": {image: ocispec.Platform{OS: "linux", Architecture: same}},
		"a variant":             {image: ocispec.Platform{OS: "linux", Architecture: runtime.GOARCH, Variant: "v9"}},
		"32 bits of it":         {image: ocispec.Platform{OS: "linux", Architecture: smaller}},
		"no architecture":       {image: ocispec.Platform{OS: "linux"}},
		"no operating system":   {image: ocispec.Platform{Architecture: runtime.GOARCH}},
		"another architecture":  {image: ocispec.Platform{OS: "linux", Architecture: other}, refused: true},
		"another alone":         {image: ocispec.Platform{Architecture: other}, refused: true},
		"another system":        {image: ocispec.Platform{OS: "windows", Architecture: runtime.GOARCH}, refused: true},
		"what is no platform":   {image: ocispec.Platform{OS: "unknown", Architecture: "unknown"}, refused: true},
		"a name without an end": {image: ocispec.Platform{OS: "linux", Architecture: strings.Repeat("x\n", 1<<20)}, refused: true},
	} {
		t.Run(name, func(t *testing.T) {
			if err := CheckPlatform(contract.OtherPlatformsMount, c.image); err != nil {
				t.Errorf("to be mounted: %v", err)
			}
			err := CheckPlatform(contract.OtherPlatformsRefuse, c.image)
			if errors.Is(err, ErrOtherPlatform) != c.refused || (err == nil) == c.refused {
				t.Fatalf("got %v, refused should be %v", err, c.refused)
			}
			if err != nil && (len(err.Error()) > 500 || strings.Contains(err.Error(), "\n") || !strings.Contains(err.Error(), "otherPlatforms: Mount")) {
				t.Errorf("the error is no sentence for an event: %v", err)
			}
		})
	}
}
