package controllers

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/cache"
)

const (
	// gatherPeriod is how long events are collected after the first. A delay this short is invisible to users, and changes
	// of nodes are collected for a second anyway.
	gatherPeriod = 200 * time.Millisecond

	// busyPeriod is how long after a write of the operator events are read as they come.
	busyPeriod = 5 * time.Second

	// idle is more than it takes to read what is there already.
	idle = time.Millisecond

	dialTimeout, keepAlive = 30 * time.Second, 30 * time.Second // as client-go's own
)

// Gathering has the cache of an idle operator read its events in bursts. Thousands of kubelets report, some fifty times a
// second, that nothing has changed, and waking up for each costs more than the event. So the cache has its own connection to
// the API server, which is read some time after data has arrived, as a network card coalesces its interrupts. Lists are read
// without a pause. After a write the operator reads events at once, because it would otherwise write the same again.
type Gathering struct {
	wrote atomic.Int64 // when, in nanoseconds since 1970
	hurry chan struct{}
}

// NewGathering is for one operator.
func NewGathering() *Gathering { return &Gathering{hurry: make(chan struct{}, 1)} }

// Over wraps the transport of the operator's clients and notices its writes. Renewals of the leader's lease do not count.
func (g *Gathering) Over(next http.RoundTripper) http.RoundTripper {
	return roundTripper(func(request *http.Request) (*http.Response, error) {
		if request.Method != http.MethodGet && !strings.HasPrefix(request.URL.Path, "/apis/"+coordinationv1.GroupName+"/") {
			g.note()
		}
		return next.RoundTrip(request)
	})
}

type roundTripper func(*http.Request) (*http.Response, error)

// RoundTrip implements http.RoundTripper.
func (r roundTripper) RoundTrip(request *http.Request) (*http.Response, error) { return r(request) }

// NewCache makes a cache that gathers.
func (g *Gathering) NewCache(config *rest.Config, options cache.Options) (cache.Cache, error) {
	config = rest.CopyConfig(config)
	dial := config.Dial
	if dial == nil {
		dial = (&net.Dialer{Timeout: dialTimeout, KeepAlive: keepAlive}).DialContext
	}
	config.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return gathered{conn, g}, nil
	}
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		return nil, fmt.Errorf("set up a client for the cache: %w", err)
	}
	options.HTTPClient = client
	return cache.New(config, options)
}

// note records that the operator writes.
func (g *Gathering) note() {
	g.wrote.Store(time.Now().UnixNano())
	select {
	case g.hurry <- struct{}{}:
	default:
	}
}

// gather returns when it is time to read.
func (g *Gathering) gather() {
	if time.Since(time.Unix(0, g.wrote.Load())) < busyPeriod {
		return
	}
	select {
	case <-g.hurry:
	case <-time.After(gatherPeriod):
	}
}

// gathered is a connection on which a read that had to wait for data waits for more.
type gathered struct {
	net.Conn

	by *Gathering
}

// Read implements net.Conn.
func (c gathered) Read(p []byte) (int, error) {
	began := time.Now()
	n, err := c.Conn.Read(p)
	if err == nil && time.Since(began) > idle {
		c.by.gather()
	}
	return n, err
}
