package words

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/image-csi/image-csi-operator/internal/nodeplugin/words/wordstest"
)

func TestOneFaultIsToldInTheSameWordsEveryTime(t *testing.T) {
	const layer = "sha256:4355a46b19d348dc2f57c046f8ef63d4538ebb936000f3c9ee954a27460dd865"
	for _, tries := range [][]string{
		{
			`read tcp 10.0.0.5:41234->10.0.0.9:443: read: connection reset by peer`,
			`read tcp 10.0.0.5:9->10.0.0.9:443: read: connection reset by peer`,
		},
		{
			`lookup r.example on [fd00::a]:53: read udp [fd00::5%eth0]:52100->[fd00::a]:53: i/o timeout`,
			`lookup r.example on [fd00::a]:53: read udp [fd00::5%eth0]:1->[fd00::a]:53: i/o timeout`,
		},
		{
			`failed to extract layer (application/vnd.oci.image.layer.v1.tar+gzip ` + layer + `) to overlayfs as "extract-412513388-oPfv ` + layer + `": ` +
				`link /var/lib/containerd/io.containerd.snapshotter.v1.overlayfs/snapshots/46/fs/a /var/lib/containerd/io.containerd.snapshotter.v1.overlayfs/snapshots/46/fs/b: no such file or directory`,
			`failed to extract layer (application/vnd.oci.image.layer.v1.tar+gzip ` + layer + `) to overlayfs as "extract-9-_-_x ` + layer + `": ` +
				`link /var/lib/containerd/io.containerd.snapshotter.v1.overlayfs/snapshots/1047/fs/a /var/lib/containerd/io.containerd.snapshotter.v1.overlayfs/snapshots/1047/fs/b: no such file or directory`,
		},
		{
			`mount callback failed on /var/lib/containerd/tmpmounts/containerd-mount1234567890: unexpected EOF`,
			`mount callback failed on /var/lib/containerd/tmpmounts/containerd-mount987654: unexpected EOF`,
		},
		{
			`mount callback failed on /tmp/containerd-mount1234567890: unexpected EOF`,
			`mount callback failed on /tmp/containerd-mount2: unexpected EOF`,
		},
		{
			`storing blob to file "/var/tmp/container_images_storage1861036489/1": flate: corrupt input`,
			`storing blob to file "/var/tmp/container_images_storage77/1": flate: corrupt input`,
		},
		{
			`storing blob to file "/scratch/container_images_storage1861036489/1": flate: corrupt input`,
			`storing blob to file "/scratch/container_images_storage861036489/1": flate: corrupt input`,
		},
		{
			`open /var/lib/containers/storage/overlay/staging/8213467/x: no such file`,
			`open /var/lib/containers/storage/overlay/staging/11/x: no such file`,
		},
		{
			`x509: certificate has expired or is not yet valid: current time 2026-11-28T15:13:06Z is after 2026-01-01T00:00:00Z`,
			`x509: certificate has expired or is not yet valid: current time 2026-11-28T15:14:07+02:00 is after 2026-01-01T00:00:00Z`,
		},
		{
			`403: <Error><Code>AccessDenied</Code><RequestId>4442587FB7D0A2F9</RequestId><HostId>gvuuS/+J=</HostId></Error>`,
			`403: <Error><Code>AccessDenied</Code><RequestId>B7D0A2F944425871</RequestId><HostId>0vuuS/+J=</HostId></Error>`,
		},
		{
			`AADSTS700016: no such application. Trace ID: 0fcb2a4d-91a5-4c9d-8a0a-1a2b3c4d5e6f Timestamp: 2026-11-28 15:13:06Z`,
			`AADSTS700016: no such application. Trace ID: 99999999-91a5-4c9d-8a0a-1a2b3c4d5e6f Timestamp: 2026-11-28 15:15:08Z`,
		},
		{
			`denied: {"time":"2026-11-28T15:13:06.123+01:00","detail":"0fcb2a4d-91a5-4c9d-8a0a-1a2b3c4d5e6f"}`,
			`denied: {"time":"2026-11-28T15:15:06.9+01:00","detail":"1fcb2a4d-91a5-4c9d-8a0a-1a2b3c4d5e6f"}`,
		},
		{
			`StatusCode: 503, "<p>Ray ID: 8f1a2b3c4d5e6f70</p>"`,
			`StatusCode: 503, "<p>Ray ID: 8f1a2b3c4d5e6f71</p>"`,
		},
		{
			`ref layer-` + layer + ` locked for 1m2.345s (since 2026-11-28 15:13:06.1 +0000 UTC m=+12.3): unavailable`,
			`ref layer-` + layer + ` locked for 3m4.5s (since 2026-11-28 15:13:06.1 +0000 UTC m=+12.3): unavailable`,
		},
		{
			`toomanyrequests: retry-after: 312.33µs, allowed: 44000/minute`,
			`toomanyrequests: retry-after: 1m, allowed: 44000/minute`,
		},
		{
			`short read: expected 243 bytes but got 121: unexpected EOF`,
			`short read: expected 243 bytes but got 0: unexpected EOF`,
		},
		{
			`stream error: stream ID 7; INTERNAL_ERROR; received from peer`,
			`stream error: stream ID 11; INTERNAL_ERROR; received from peer`,
		},
	} {
		first := Steady(tries[0])
		for _, try := range tries[1:] {
			if again := Steady(try); again != first {
				t.Errorf("told as\n%s\nand as\n%s", first, again)
			}
		}
		if again := Steady(first); again != first {
			t.Errorf("%q becomes %q", first, again)
		}
	}
}

func TestWhatTellsSomethingStays(t *testing.T) {
	for _, text := range []string{
		"image registry.example:5000/team123456/app-20261128:build-1234567 at 10.0.0.9:443",
		"layer sha256:0d1e44355a46b19d348dc2f57c046f8ef63d4538ebb936000f3c9ee954a27460 of 500",
		"/var/lib/kubelet/pods/3f2a1b0c-1111-2222-3333-444455556666/volumes/kubernetes.io~csi/data/mount",
		"open /var/lib/containerd/io.containerd.snapshotter.v1.overlayfs/metadata.db: input/output error",
		"link /x/fs/tmp/a1234567: no such file",
		"is after 2026-01-01T00:00:00Z",
	} {
		if got := Steady(text); got != text {
			t.Errorf("%q becomes %q", text, got)
		}
	}
	if got := Steady(" one\n\ttwo "); got != "one two" {
		t.Errorf("got %q", got)
	}
}

func TestTheMiddleOfALongTextIsTakenOut(t *testing.T) {
	long := "what was attempted: " + strings.Repeat("é", 5000) + ": the cause"
	for _, limit := range []int{-1, 0, 1, 19, 20, 21, 64, 384, 900} {
		got := Shorten(long, limit)
		if len(got) > max(limit, 0) || !utf8.ValidString(got) {
			t.Errorf("%d: %d bytes, %q", limit, len(got), got)
		}
		if limit >= 64 && (!strings.HasPrefix(got, "what was attempted") || !strings.HasSuffix(got, ": the cause")) {
			t.Errorf("%d: %q", limit, got)
		}
	}
	if got := Shorten("short", 5); got != "short" {
		t.Errorf("got %q", got)
	}
}

// A registry's error may be of any length, and a runtime repeats all of it.
func TestTheCostOfATextIsBounded(t *testing.T) {
	const mebi = 1 << 20
	for _, part := range []string{"a", "1.1.1.1:", "/tmp/", "request id", "[:"} {
		var got string
		wordstest.CostIsBounded(t, part, func(filling string) func() {
			text := "what was attempted: " + filling + ": the cause"
			return func() { got = Steady(text) }
		})
		if len(got) > mebi || !strings.HasPrefix(got, "what was attempted: ") || !strings.HasSuffix(got, ": the cause") {
			t.Errorf("%q: %d bytes, %.40q", part, len(got), got)
		}
	}
}
