package server

import (
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/container-storage-interface/spec/lib/go/csi"
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
		"much": "500Mi", "-1Gi": "less than 1Mi", "0": "less than 1Mi", "1k": "less than 1Mi", "10Mi": "the driver allows, 9Mi",
		"999999999999999999999Ei": "the driver allows", strings.Repeat("1", 100): "too long",
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

func FuzzSizeLimit(f *testing.F) {
	for _, seed := range []string{"1Gi", "1e3", "-5", "0.1", "1E", "999999999999999999999Ei", ""} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		limit, err := SizeLimits{}.of(map[string]string{"sizeLimit": text})
		if err == nil && text != "" && limit < minSizeLimit {
			t.Errorf("%q: %d", text, limit)
		}
	})
}
