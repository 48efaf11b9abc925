package crio

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	"go.podman.io/storage"

	"github.com/image-csi/image-csi-operator/internal/nodeplugin/imagestore"
)

func TestHostileManifestsAndConfigurationsAreRefusedInOneSentence(t *testing.T) {
	f := newFixture(t)
	s := f.open(t, driver)
	const configKey = "sha256:0000000000000000000000000000000000000000000000000000000000000000"
	whole := `{"config":{"digest":"` + configKey + `"}}`
	for i, c := range []struct{ name, manifest, config string }{
		{"manifest that is no JSON", "no JSON", "{}"},
		{"manifest that is a list", "[]", "{}"},
		{"configuration that is no JSON", whole, "no JSON"},
		{"operating system that is a number", whole, `{"os":` + strings.Repeat("9", 70_000) + "}"},
		{"digest that is none", `{"config":{"digest":"foo"}}`, "{}"},
		{"digest without an end", `{"config":{"digest":"sha256:` + strings.Repeat("0", 70_000) + `"}}`, "{}"},
		{"platform without an end", whole, `{"os":"` + strings.Repeat("x", 70_000) + `"}`},
	} {
		name := fmt.Sprintf("registry.example/hostile:%d", i)
		image := f.image(t, name, 1)
		for key, content := range map[string]string{storage.ImageDigestBigDataKey: c.manifest, configKey: c.config} {
			err := f.runtime.SetImageBigData(image.ID, key, []byte(content), func(b []byte) (digest.Digest, error) { return digest.FromBytes(b), nil })
			if err != nil {
				t.Fatal(err)
			}
		}
		_, err := s.Pin(testContext(t), name)
		var refusal *imagestore.Refusal
		if !errors.As(err, &refusal) || len(refusal.Error()) > 500 {
			t.Errorf("%s: %.600v", c.name, err)
		}
	}
	// What is not used may be anything.
	image := f.image(t, "registry.example/odd:1", 1)
	for key, content := range map[string]string{storage.ImageDigestBigDataKey: whole, configKey: `{"created":5,"config":"x"}`} {
		if err := f.runtime.SetImageBigData(image.ID, key, []byte(content), func(b []byte) (digest.Digest, error) { return digest.FromBytes(b), nil }); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.Pin(testContext(t), "registry.example/odd:1"); err != nil {
		t.Error(err)
	}
}
