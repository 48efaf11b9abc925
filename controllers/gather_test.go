package controllers

import (
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"
)

// trickle is a connection on which something has come at the times that it lists, one byte each.
type trickle struct {
	net.Conn

	began time.Time
	at    []time.Duration
}

func (s *trickle) Read(p []byte) (int, error) {
	if len(s.at) == 0 {
		return 0, io.EOF
	}
	time.Sleep(time.Until(s.began.Add(s.at[0])))
	n := 0
	for ; n < len(p) && len(s.at) > 0 && time.Since(s.began) >= s.at[0]; n++ {
		s.at = s.at[1:]
	}
	return n, nil
}

func TestAGatheringConnectionIsReadInBursts(t *testing.T) {
	const ms, burst = time.Millisecond, gatherPeriod
	for name, c := range map[string]struct {
		at   []time.Duration
		into int
		want []time.Duration // when reads return
	}{
		"one event": {at: []time.Duration{50 * ms}, into: 8, want: []time.Duration{50*ms + burst}},
		"what comes meanwhile is read at once": {at: []time.Duration{50 * ms, 70 * ms, 140 * ms}, into: 8,
			want: []time.Duration{50*ms + burst, 50*ms + burst}},
		"what comes later waits": {at: []time.Duration{50 * ms, 300 * ms}, into: 8,
			want: []time.Duration{50*ms + burst, 300*ms + burst}},
		"what is there already is not held up": {at: make([]time.Duration, 4), into: 1, want: make([]time.Duration, 4)},
		"a long answer is held up once": {at: []time.Duration{9 * ms, 9 * ms, 9 * ms}, into: 1,
			want: []time.Duration{9*ms + burst, 9*ms + burst, 9*ms + burst}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				conn := gathered{&trickle{began: began, at: c.at}, NewGathering()}
				for i, want := range c.want {
					if _, err := conn.Read(make([]byte, c.into)); err != nil || time.Since(began) != want {
						t.Errorf("read %d returns after %s, %v; want %s", i, time.Since(began), err, want)
					}
				}
				if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, io.EOF) || time.Since(began) != c.want[len(c.want)-1] {
					t.Errorf("the end is told after %s: %v", time.Since(began), err)
				}
			})
		})
	}
}

func TestWhatTheOperatorWroteIsReadAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewGathering()
		transport := g.Over(roundTripper(func(*http.Request) (*http.Response, error) { return &http.Response{Body: http.NoBody}, nil }))
		request := func(method, path string) {
			t.Helper()
			answer, err := transport.RoundTrip(httptest.NewRequest(method, path, nil))
			if err != nil {
				t.Fatal(err)
			}
			_ = answer.Body.Close()
		}
		read := func(want time.Duration) {
			t.Helper()
			began := time.Now()
			conn := gathered{&trickle{began: began, at: []time.Duration{10 * time.Millisecond}}, g}
			if _, err := conn.Read(make([]byte, 1)); err != nil || time.Since(began) != want {
				t.Errorf("the read returns after %s, %v; want %s", time.Since(began), err, want)
			}
		}
		const busy, calm = 10 * time.Millisecond, 10*time.Millisecond + gatherPeriod
		request(http.MethodGet, "/api/v1/nodes")
		request(http.MethodPut, "/apis/coordination.k8s.io/v1/namespaces/here/leases/operator")
		read(calm)
		request(http.MethodPatch, "/api/v1/nodes/one")
		read(busy)
		time.Sleep(busyPeriod)
		<-g.hurry // of the write, when nobody was gathering
		read(calm)
		go func() {
			time.Sleep(60 * time.Millisecond)
			request(http.MethodPatch, "/api/v1/nodes/one")
		}()
		read(60 * time.Millisecond)
	})
}
