package migration

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
)

// Chart is the name of the legacy driver's Helm chart.
const Chart = "warm-metal-csi-driver"

// ReleaseType is the type of the secrets in which Helm keeps releases, ReleaseKey the key there.
const (
	ReleaseType = "helm.sh/release.v1"
	ReleaseKey  = "release"
)

// maxRelease bounds what a release may be when it is unpacked. A secret has at most 1 MiB, which may be any number of zeros.
const maxRelease = 32 << 20

// ReadRelease returns the values of a release, the chart's own with the user's over them, from the secret in which Helm keeps it:
// JSON, packed by gzip, in base64. The error says if it is of another chart.
func ReadRelease(data []byte) (map[string]any, error) {
	packed, err := base64.StdEncoding.DecodeString(string(data))
	if err != nil {
		return nil, fmt.Errorf("decode the release: %w", err)
	}
	reader, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil, fmt.Errorf("unpack the release: %w", err)
	}
	text, err := io.ReadAll(io.LimitReader(reader, maxRelease+1))
	if err != nil {
		return nil, fmt.Errorf("unpack the release: %w", err)
	}
	if len(text) > maxRelease {
		return nil, errors.New("unpack the release: it is larger than 32 MiB")
	}
	var release struct {
		Chart struct {
			Metadata struct{ Name string }
			Values   map[string]any
		}
		Config map[string]any
	}
	if err := json.Unmarshal(text, &release); err != nil {
		return nil, fmt.Errorf("read the release: %w", err)
	}
	if name := release.Chart.Metadata.Name; name != Chart {
		return nil, fmt.Errorf("the release is of chart %q, and not of %s", name, Chart)
	}
	return over(release.Chart.Values, release.Config), nil
}

// over returns values with others over them, map by map. As with Helm, null takes a value away.
func over(values, others map[string]any) map[string]any {
	out := maps.Clone(values)
	if out == nil {
		out = map[string]any{}
	}
	for key, value := range others {
		inner, isMap := value.(map[string]any)
		below, wasMap := out[key].(map[string]any)
		switch {
		case value == nil:
			delete(out, key)
		case isMap && wasMap:
			out[key] = over(below, inner)
		default:
			out[key] = value
		}
	}
	return out
}
