package migration

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// kept packs a text as Helm keeps a release.
func kept(t *testing.T, text string) []byte {
	t.Helper()
	var packed bytes.Buffer
	writer := gzip.NewWriter(&packed)
	if _, err := writer.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	if err := writer.Close(); err != nil {
		t.Fatal(err)
	}
	return []byte(base64.StdEncoding.EncodeToString(packed.Bytes()))
}

func TestAReleaseHasTheChartsValuesAndTheUsersOverThem(t *testing.T) {
	got, err := ReadRelease(kept(t, `{"name":"w","info":{"status":"deployed"},"chart":{"metadata":{"name":"warm-metal-csi-driver","version":"2.1.9"},
		"values":{"logLevel":4,"runtime":{"engine":"containerd","socketPath":"/a"},"tolerations":[{"operator":"Exists"}],"nodeSelector":{"a":"b"}}},
		"config":{"runtime":{"socketPath":"/b"},"tolerations":[],"nodeSelector":null,"csiPlugin":{"hostNetwork":true}}}`))
	want := values(t, "{logLevel: 4, runtime: {engine: containerd, socketPath: /b}, tolerations: [], csiPlugin: {hostNetwork: true}}")
	if diff := cmp.Diff(want, got, cmp.Transformer("numbers", func(n int64) float64 { return float64(n) })); err != nil || diff != "" {
		t.Errorf("error %v (-want +got):\n%s", err, diff)
	}
}

func TestWhatIsNoReleaseOfTheChartIsRefused(t *testing.T) {
	for says, data := range map[string][]byte{
		"decode the release":    []byte("{}"),
		"unpack the release":    []byte("AAAA"),
		"read the release":      kept(t, "no JSON"),
		`of chart "other"`:      kept(t, `{"chart":{"metadata":{"name":"other"}}}`),
		"it is larger than 32 ": kept(t, strings.Repeat(" ", maxRelease+1)),
	} {
		if got, err := ReadRelease(data); err == nil || got != nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v, %v", says, got, err)
		}
	}
}

func FuzzRelease(f *testing.F) {
	f.Add([]byte("H4sIAAAAAAAAA6uuBQBDv6ajAgAAAA=="))
	f.Fuzz(func(_ *testing.T, data []byte) { _, _ = ReadRelease(data) })
}
