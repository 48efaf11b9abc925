package reading

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/transport/spdy"
	"k8s.io/streaming/pkg/httpstream"
)

const (
	// maxSaid bounds what is read of the kubelet's message about a port that it cannot reach.
	maxSaid = 1024

	// saidIn is how long that message may take when the connection has failed.
	saidIn = time.Second
)

// forwarded is a connection to a port on the loopback of a pod, through the API server and the kubelet. Nothing listens for it on this
// machine, so no other user of it can join in.
type forwarded struct {
	httpstream.Stream
	connection httpstream.Connection

	said chan string // by the kubelet, about why it failed
}

// forward connects to a port of a pod, as kubectl port-forward does: by a WebSocket, or by SPDY where the API server or something on the
// way has none.
func forward(ctx context.Context, config *rest.Config, pod *url.URL, port int32) (*forwarded, error) {
	sockets, err := portforward.NewSPDYOverWebsocketDialerForStreaming(pod, config)
	if err != nil {
		return nil, err
	}
	transport, upgrader, err := spdy.RoundTripperFor(config)
	if err != nil {
		return nil, err
	}
	watched := &refusals{next: transport}
	streams := spdy.NewDialerForStreaming(upgrader, &http.Client{Transport: watched}, http.MethodPost, pod)
	either := portforward.NewFallbackDialerForStreaming(sockets, streams, func(err error) bool {
		return httpstream.IsUpgradeFailure(err) || httpstream.IsHTTPSProxyError(err)
	})
	connection, err := dial(ctx, either)
	if err != nil {
		if watched.refused.Load() {
			err = fmt.Errorf("%w: %w", errForbidden, err)
		}
		return nil, err
	}
	f, err := open(connection, port)
	if err != nil {
		return nil, errors.Join(err, connection.Close())
	}
	return f, nil
}

// errForbidden means that the API server does not let the caller forward ports.
var errForbidden = errors.New("the API server does not permit to forward ports to the pod")

// refusals is a transport that notes whether the API server refused a request: of its answer the library keeps the text only.
type refusals struct {
	next    http.RoundTripper
	refused atomic.Bool
}

// RoundTrip implements http.RoundTripper.
func (r *refusals) RoundTrip(request *http.Request) (*http.Response, error) {
	answer, err := r.next.RoundTrip(request)
	if err == nil && answer.StatusCode == http.StatusForbidden {
		r.refused.Store(true)
	}
	return answer, err
}

// dial is Dial of a dialer, which knows no context.
func dial(ctx context.Context, dialer httpstream.Dialer) (httpstream.Connection, error) {
	type result struct {
		connection httpstream.Connection
		err        error
	}
	dialed := make(chan result, 1)
	go func() {
		connection, _, err := dialer.Dial(portforward.PortForwardProtocolV1Name)
		dialed <- result{connection, err}
	}()
	select {
	case r := <-dialed:
		return r.connection, r.err
	case <-ctx.Done():
		go func() {
			if r := <-dialed; r.err == nil {
				_ = r.connection.Close()
			}
		}()
		return nil, ctx.Err()
	}
}

// open opens the two streams of a port: one for data, and one on which the kubelet says what failed.
func open(connection httpstream.Connection, port int32) (*forwarded, error) {
	headers := http.Header{}
	headers.Set(corev1.PortHeader, strconv.Itoa(int(port)))
	headers.Set(corev1.PortForwardRequestIDHeader, "0")
	headers.Set(corev1.StreamType, corev1.StreamTypeError)
	failures, err := connection.CreateStream(headers)
	if err != nil {
		return nil, fmt.Errorf("open a stream for errors: %w", err)
	}
	_ = failures.Close() // for writing
	headers.Set(corev1.StreamType, corev1.StreamTypeData)
	data, err := connection.CreateStream(headers)
	if err != nil {
		return nil, fmt.Errorf("open a stream for data: %w", err)
	}
	f := &forwarded{Stream: data, connection: connection, said: make(chan string, 1)}
	go func() {
		said, _ := io.ReadAll(io.LimitReader(failures, maxSaid))
		f.said <- string(said)
	}()
	return f, nil
}

// failure returns what the kubelet said of the connection; empty if it says nothing in a moment.
func (f *forwarded) failure() string {
	select {
	case said := <-f.said:
		return said
	case <-time.After(saidIn):
		return ""
	}
}

// end ends the connection.
func (f *forwarded) end() { _ = f.connection.Close() }

// Close implements net.Conn. What the kubelet says can be read until end.
func (f *forwarded) Close() error { return f.Reset() }

// LocalAddr implements net.Conn.
func (f *forwarded) LocalAddr() net.Addr { return forwardedAddress{} }

// RemoteAddr implements net.Conn.
func (f *forwarded) RemoteAddr() net.Addr { return forwardedAddress{} }

// SetDeadline implements net.Conn. Requests end with their context, which closes the connection.
func (f *forwarded) SetDeadline(time.Time) error { return nil }

// SetReadDeadline implements net.Conn.
func (f *forwarded) SetReadDeadline(time.Time) error { return nil }

// SetWriteDeadline implements net.Conn.
func (f *forwarded) SetWriteDeadline(time.Time) error { return nil }

type forwardedAddress struct{}

// Network implements net.Addr.
func (forwardedAddress) Network() string { return "portforward" }

// String implements net.Addr.
func (forwardedAddress) String() string { return "pod" }
