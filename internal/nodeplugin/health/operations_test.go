package health

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

func TestReadinessEndsWhileOperationsKeepFailing(t *testing.T) {
	const publish, unpublish = "NodePublishVolume", "NodeUnpublishVolume"
	type call struct {
		method, code string
		before       time.Duration // what passes before it
		volume       string        // empty for one of its own
	}
	times := func(n int, method, code string) []call { return slices.Repeat([]call{{method: method, code: code}}, n) }
	// tries are calls about the same volumes, again and again.
	tries := func(n int, code string, volumes ...string) (calls []call) {
		for range n {
			for _, volume := range volumes {
				calls = append(calls, call{publish, code, time.Second, volume})
			}
		}
		return calls
	}
	// row is a row of publishes: F is an own fault, S a success, N an image that does not exist.
	row := func(calls string, every time.Duration) (row []call) {
		for _, c := range calls {
			row = append(row, call{publish, map[rune]string{'F': ownFault, 'S': "OK", 'N': "NotFound"}[c], every, ""})
		}
		return row
	}
	tests := map[string]struct {
		calls []call
		then  time.Duration
		ready bool
	}{
		"nothing called":                 {nil, 0, true},
		"two failures":                   {row("FF", 0), 0, true},
		"three failures":                 {row("FFF", 0), 0, false},
		"as often as the kubelet tries":  {row("FFF", 122*time.Second), 0, false},
		"more seldom than that":          {row("FFF", 151*time.Second), 0, true},
		"two minutes ago":                {row("FFF", 0), 123 * time.Second, false},
		"given up":                       {row("FFF", 0), 5 * time.Minute, true},
		"the image's fault":              {row("NNNNNNNNN", 0), 0, true},
		"the runtime's fault":            {times(9, publish, "Unavailable"), 0, true},
		"a success in between":           {row("FFSF", 0), 0, false},
		"every second one":               {row("FSFSFSFSFSFS", time.Second), 0, false},
		"every third one":                {row("SSFSSFSSFSSF", time.Second), 0, true},
		"another fault in between":       {row("FFNNNNNF", 0), 0, false},
		"old successes, new failures":    {append(times(99, publish, "OK"), row("FFFFF", 0)...), 0, false},
		"few failures among many calls":  {append(times(99, publish, "OK"), row("FFF", 0)...), 0, true},
		"fixed":                          {row("FFFSSSS", time.Second), 0, true},
		"fixed after many failures":      {append(times(99, publish, ownFault), row("SSSSSS", 0)...), 0, true},
		"not certainly fixed":            {append(times(99, publish, ownFault), row("SSSSS", 0)...), 0, false},
		"a success after a long silence": {append(times(99, publish, ownFault), row("S", 5*time.Minute)...), 0, true},
		"a success of another kind":      {append(times(3, publish, ownFault), times(9, unpublish, "OK")...), 0, false},
		"unmounting":                     {times(3, unpublish, ownFault), 0, false},
		"two of each":                    {append(times(2, publish, ownFault), times(2, unpublish, ownFault)...), 0, true},
		"a call that does not matter":    {times(9, "NodeGetVolumeStats", ownFault), 0, true},
		"one volume, again and again":    {tries(99, ownFault, "a"), 0, true},
		"two volumes, again and again":   {tries(99, ownFault, "a", "b"), 0, true},
		"three volumes":                  {tries(9, ownFault, "a", "b", "c"), 0, false},
		"three that work at last":        {append(tries(9, ownFault, "a", "b", "c"), tries(1, "OK", "a", "b")...), 0, true},
		"three among many that work":     {append(times(7, publish, "OK"), tries(99, ownFault, "a", "b", "c")...), 0, true},
		"one volume in and out":          {append(tries(9, "OK", "a"), tries(1, ownFault, "b", "c", "d")...), 0, false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			now := time.Unix(1000, 0)
			operations := NewOperations(func() time.Time { return now })
			for i, call := range test.calls {
				now = now.Add(call.before)
				operations.Observe(call.method, call.code, cmp.Or(call.volume, strconv.Itoa(i)))
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
