package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"sigs.k8s.io/yaml"
)

// Media types of a chart (helm.sh/docs/topics/registries, "Helm chart manifest").
const (
	chartConfigType  = types.MediaType("application/vnd.cncf.helm.config.v1+json")
	chartContentType = types.MediaType("application/vnd.cncf.helm.chart.content.v1.tar+gzip")
)

// chartRepository is where a chart goes whose image is in a repository. Helm wants the chart's name at the end.
func chartRepository(repository string) string {
	return path.Join(path.Dir(repository), "charts", imageName)
}

// pushChart copies the Helm chart of a release into the repository beside the image's, under its version.
func pushChart(dir, repository string, options []name.Option, with []remote.Option) error {
	found, err := filepath.Glob(filepath.Join(dir, imageName+"-*.tgz"))
	if err != nil || len(found) != 1 {
		return errors.Join(fmt.Errorf("the release in %s has %d Helm charts, not one", dir, len(found)), err)
	}
	content, err := os.ReadFile(found[0])
	if err != nil {
		return err
	}
	config, version, err := chartConfig(content)
	if err != nil {
		return fmt.Errorf("read the Helm chart %s: %w", found[0], err)
	}
	to, err := name.NewTag(chartRepository(repository)+":"+version, options...)
	if err != nil {
		return err
	}
	described, err := chartManifest(to.Repository, config, content, with)
	if err != nil {
		return err
	}
	if err := remote.Put(to, described, with...); err != nil {
		return fmt.Errorf("push the Helm chart to %s: %w", to, err)
	}
	digest, _, err := v1.SHA256(bytes.NewReader(described))
	if err != nil {
		return err
	}
	fmt.Printf("oci://%s@%s\n", to, digest)
	return nil
}

// manifest is one of an artifact.
type manifest []byte

// RawManifest returns its bytes.
func (m manifest) RawManifest() ([]byte, error) { return m, nil }

// MediaType returns OCI's.
func (manifest) MediaType() (types.MediaType, error) { return types.OCIManifestSchema1, nil }

// chartManifest pushes a chart's parts and returns the manifest that names them.
func chartManifest(to name.Repository, config, content []byte, with []remote.Option) (manifest, error) {
	parts := []v1.Layer{static.NewLayer(config, chartConfigType), static.NewLayer(content, chartContentType)}
	var descriptors []v1.Descriptor
	for _, part := range parts {
		if err := remote.WriteLayer(to, part, with...); err != nil {
			return nil, fmt.Errorf("push the Helm chart to %s: %w", to, err)
		}
		digest, err := part.Digest()
		if err != nil {
			return nil, err
		}
		size, err := part.Size()
		if err != nil {
			return nil, err
		}
		kind, err := part.MediaType()
		if err != nil {
			return nil, err
		}
		descriptors = append(descriptors, v1.Descriptor{MediaType: kind, Size: size, Digest: digest})
	}
	return json.Marshal(v1.Manifest{SchemaVersion: 2, MediaType: types.OCIManifestSchema1, Config: descriptors[0], Layers: descriptors[1:]})
}

// chartConfig returns Chart.yaml of a packed chart as JSON, which is the chart's configuration in a registry, and its version.
func chartConfig(packed []byte) (config []byte, version string, err error) {
	unpacked, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil, "", err
	}
	for files := tar.NewReader(unpacked); ; {
		header, err := files.Next()
		if err != nil {
			return nil, "", fmt.Errorf("find Chart.yaml: %w", err)
		}
		if header.Name != imageName+"/Chart.yaml" {
			continue
		}
		text, err := io.ReadAll(files)
		if err != nil {
			return nil, "", err
		}
		if config, err = yaml.YAMLToJSON(text); err != nil {
			return nil, "", err
		}
		var metadata struct{ Version string }
		err = json.Unmarshal(config, &metadata)
		return config, metadata.Version, err
	}
}
