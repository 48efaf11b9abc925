package server

import (
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/container-storage-interface/spec/lib/go/csi"

	"github.com/image-csi/image-csi-operator/internal/quantity"
)

func TestTheSizeLimitIsTheVolumesElseTheDrivers(t *testing.T) {
	for _, tt := range []struct {
		limits SizeLimits
		named  string
		want   int64
	}{
		{SizeLimits{}, "", 0},
		{SizeLimits{}, "1Gi", 1 << 30},
		{SizeLimits{}, "1500000.5", 1500001},
		{SizeLimits{Default: 5 << 20}, "", 5 << 20},
		{SizeLimits{Default: 5 << 20}, "7Mi", 7 << 20},
		{SizeLimits{Default: 5 << 20, Max: 9 << 20}, "9Mi", 9 << 20},
		{SizeLimits{Max: 9 << 20}, "", 9 << 20},
	} {
		q := testRequests
		q.limits = tt.limits
		r, err := q.publish(inline("sizeLimit", tt.named))
		if err != nil || r.SizeLimit != tt.want {
			t.Errorf("%+v, %q: %d, %v; want %d", tt.limits, tt.named, r.SizeLimit, err, tt.want)
		}
	}
}

func TestABadSizeLimitIsRefusedInWords(t *testing.T) {
	q := testRequests
	q.limits = SizeLimits{Max: 9 << 20}
	for named, words := range map[string]string{
		"much": "500Mi", "-1Gi": "has no sign", "0": "less than 1Mi", "1k": "less than 1Mi", "10Mi": "the driver allows, 9Mi",
		"999999999999999999999Ei": "the driver allows", strings.Repeat("1", 100): "too long", "1e99": "the driver allows, 9Mi",
		"1e-2147483647": "has no sign", "1e2147483647": "the driver allows",
	} {
		_, err := q.publish(inline("sizeLimit", named))
		if status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), words) || !strings.Contains(err.Error(), "sizeLimit") {
			t.Errorf("%q: %v, want %q", named, err, words)
		}
	}
}

func TestAReadOnlyVolumeHasNoSizeLimit(t *testing.T) {
	q := testRequests
	q.limits = SizeLimits{Default: 5 << 20}
	r, err := q.publish(but(inline("sizeLimit", "1Gi"), func(r *csi.NodePublishVolumeRequest) { r.Readonly = true }))
	if err != nil || r.SizeLimit != 0 {
		t.Errorf("%d, %v", r.SizeLimit, err)
	}
}

func TestASizeLimitIsNeverMoreThanTheKernelCounts(t *testing.T) {
	for _, named := range []string{"8Ei", "1e99", "9223372036854775807", "9223372036854775808", "1e2147483647"} {
		_, err := testRequests.publish(inline("sizeLimit", named))
		if status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), "more than 1Ei") {
			t.Errorf("%q: %v", named, err)
		}
	}
}

func TestTheDriversLimitsAreRefusedLikeAVolumes(t *testing.T) {
	for text, words := range map[string]string{"1e-2147483647": "sign", "1e99": "1Ei", "8Ei": "1Ei", "1k": "less than 1Mi", "": ""} {
		for _, pair := range [][2]string{{text, ""}, {"", text}} {
			_, err := ParseSizeLimits(pair[0], pair[1])
			if (err == nil) != (text == "") || (err != nil && !strings.Contains(err.Error(), words)) {
				t.Errorf("%q: %v, want %q", pair, err, words)
			}
		}
	}
}

func FuzzSizeLimit(f *testing.F) {
	for _, seed := range []string{"1Gi", "1e3", "-5", "0.1", "1E", "999999999999999999999Ei", "", "1e-2147483647", "1e2147483647", "1e-9999999"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		limit, err := SizeLimits{}.limitOf(map[string]string{"sizeLimit": text})
		if err == nil && text != "" && (limit < minSizeLimit || limit > quantity.Max) {
			t.Errorf("%q: %d", text, limit)
		}
		if err != nil && (status.Code(err) != codes.InvalidArgument || len(err.Error()) > maxMessage) {
			t.Errorf("%q: %v", text, err)
		}
	})
}
