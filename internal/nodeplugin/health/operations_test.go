package health

import (
	"slices"
	"strings"
	"testing"
	"time"
)

func TestReadinessEndsWhileOperationsKeepFailing(t *testing.T) {
	const publish, unpublish = "NodePublishVolume", "NodeUnpublishVolume"
	type call struct{ method, code string }
	times := func(n int, method, code string) []call { return slices.Repeat([]call{{method, code}}, n) }
	tests := map[string]struct {
		calls []call
		then  time.Duration
		ready bool
	}{
		"nothing called":               {nil, 0, true},
		"two failures":                 {times(2, publish, "Internal"), 0, true},
		"three failures":               {times(3, publish, "Internal"), 0, false},
		"two minutes ago":              {times(3, publish, "Internal"), 123 * time.Second, false},
		"given up":                     {times(3, publish, "Internal"), 6 * time.Minute, true},
		"the image's fault":            {times(9, publish, "NotFound"), 0, true},
		"the runtime's fault":          {times(9, publish, "Unavailable"), 0, true},
		"a success in between":         {append(times(2, publish, "Internal"), call{publish, "OK"}, call{publish, "Internal"}), 0, true},
		"another fault in between":     {append(times(2, publish, "Internal"), call{publish, "NotFound"}, call{publish, "Internal"}), 0, false},
		"a success of another kind":    {append(times(3, publish, "Internal"), call{unpublish, "OK"}), 0, false},
		"unmounting":                   {times(3, unpublish, "Internal"), 0, false},
		"one of each":                  {append(times(2, publish, "Internal"), times(2, unpublish, "Internal")...), 0, true},
		"a call that does not matter":  {times(9, "NodeGetVolumeStats", "Internal"), 0, true},
		"a success after many of them": {append(times(9, publish, "Internal"), call{publish, "OK"}), 0, true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			now := time.Unix(1000, 0)
			operations := NewOperations(func() time.Time { return now })
			for _, call := range test.calls {
				operations.Observe(call.method, call.code)
			}
			now = now.Add(test.then)
			err := operations.Ready(t.Context())
			if (err == nil) != test.ready {
				t.Errorf("readiness %v, want ready: %v", err, test.ready)
			}
			if err != nil && !strings.Contains(err.Error(), test.calls[0].method) {
				t.Errorf("%q does not name the call", err)
			}
		})
	}
}
