package controllers_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"syscall"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/json"
)

// faultInjector is between an operator and its API server. It records the deletions that got through.
type faultInjector struct {
	mu sync.Mutex
	// fault answers in the server's place; nil for none.
	fault fault
	// changed is closed when the fault changes.
	changed chan struct{}
	watches map[*cutBody]bool
	taken   []string
}

// fault answers a request, or returns nothing: then the server answers. over is closed when the fault is over.
type fault func(r *http.Request, over <-chan struct{}) (*http.Response, error)

// set changes the fault, and breaks every watch that is open.
func (w *faultInjector) set(f fault) {
	w.turn(f)
	w.mu.Lock()
	defer w.mu.Unlock()
	for watch := range w.watches {
		watch.cut()
	}
	w.watches = nil
}

// turn changes the fault, and leaves the watches open.
func (w *faultInjector) turn(f fault) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.changed != nil {
		close(w.changed)
	}
	w.fault, w.changed = f, make(chan struct{})
}

// takenAway returns what the operator has taken away since the last call: every deletion that the server got, and every
// patch that removes something, but for node plugins' pods.
func (w *faultInjector) takenAway() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	out := w.taken
	w.taken = nil
	return out
}

func (w *faultInjector) over(next http.RoundTripper) http.RoundTripper {
	return &faultyTransport{w, next}
}

type faultyTransport struct {
	*faultInjector
	next http.RoundTripper
}

// RoundTrip implements http.RoundTripper.
func (s *faultyTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	s.mu.Lock()
	f, over := s.fault, s.changed
	s.mu.Unlock()
	if f != nil {
		r = r.Clone(r.Context())
		if answer, err := f(r, over); answer != nil || err != nil {
			return answer, err
		}
	}
	if err := s.log(r); err != nil {
		return nil, err
	}
	if !isWatch(r) {
		return s.next.RoundTrip(r)
	}
	ctx, cancel := context.WithCancel(r.Context())
	answer, err := s.next.RoundTrip(r.WithContext(ctx))
	if err != nil {
		cancel()
		return nil, err
	}
	watch := &cutBody{ReadCloser: answer.Body, cut: cancel}
	answer.Body = watch
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.watches == nil {
		s.watches = map[*cutBody]bool{}
	}
	s.watches[watch] = true
	return answer, nil
}

func (w *faultInjector) log(r *http.Request) error {
	what := ""
	switch {
	case r.Method == http.MethodDelete && !strings.Contains(r.URL.Path, "/pods/"):
		what = "delete " + r.URL.Path
	case r.Method == http.MethodPatch && r.Header.Get("Content-Type") == "application/merge-patch+json":
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return err
		}
		r.Body = io.NopCloser(strings.NewReader(string(body)))
		if strings.Contains(string(body), ":null") && !strings.HasSuffix(r.URL.Path, "/status") {
			what = fmt.Sprintf("patch %s: %s", r.URL.Path, body)
		}
	}
	if what != "" {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.taken = append(w.taken, what)
	}
	return nil
}

// cutBody is the stream of a watch.
type cutBody struct {
	io.ReadCloser
	cut context.CancelFunc
}

// Close implements io.Closer.
func (b *cutBody) Close() error {
	b.cut()
	return b.ReadCloser.Close()
}

func isWatch(r *http.Request) bool { return r.URL.Query().Get("watch") != "" }

func isWrite(r *http.Request) bool { return r.Method != http.MethodGet }

// answer is what the API server says when it refuses.
func answer(r *http.Request, code int, reason metav1.StatusReason, retryAfter string) (*http.Response, error) {
	body, err := json.Marshal(metav1.Status{
		TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}, Status: metav1.StatusFailure,
		Reason: reason, Code: int32(code), Message: "injected fault",
	})
	if err != nil {
		return nil, err
	}
	header := http.Header{"Content-Type": {"application/json"}}
	if retryAfter != "" {
		header.Set("Retry-After", retryAfter)
	}
	return &http.Response{StatusCode: code, Header: header, Body: io.NopCloser(strings.NewReader(string(body))), Request: r,
		ProtoMajor: 1, ProtoMinor: 1}, nil
}

// always refuses every request.
func always(code int, reason metav1.StatusReason, retryAfter string) fault {
	return func(r *http.Request, _ <-chan struct{}) (*http.Response, error) {
		return answer(r, code, reason, retryAfter)
	}
}

// only lets a fault meet some requests.
func only(some func(*http.Request) bool, f fault) fault {
	return func(r *http.Request, over <-chan struct{}) (*http.Response, error) {
		if some(r) {
			return f(r, over)
		}
		return nil, nil
	}
}

// everyOther lets a fault meet every other request that it would meet.
func everyOther(f fault) fault {
	var mu sync.Mutex
	met := false
	return func(r *http.Request, over <-chan struct{}) (*http.Response, error) {
		mu.Lock()
		defer mu.Unlock()
		if met = !met; met {
			return f(r, over)
		}
		return nil, nil
	}
}

// refused is a server that does not run.
func refused(*http.Request, <-chan struct{}) (*http.Response, error) {
	return nil, &netError{syscall.ECONNREFUSED}
}

type netError struct{ error }

func (e *netError) Unwrap() error { return e.error }

// hangs is a server that takes every request and answers none, until it is gone.
func hangs(r *http.Request, over <-chan struct{}) (*http.Response, error) {
	select {
	case <-over:
		return nil, io.ErrUnexpectedEOF
	case <-r.Context().Done():
		return nil, r.Context().Err()
	}
}

// never is a request that is not answered, whatever happens to the server.
func never(r *http.Request, _ <-chan struct{}) (*http.Response, error) {
	<-r.Context().Done()
	return nil, errors.Join(errors.New("never answered"), r.Context().Err())
}

// old reports whether a watch asks for what the server has forgotten: everything that was before the fault.
func old(r *http.Request) bool {
	version := r.URL.Query().Get("resourceVersion")
	return isWatch(r) && version != "" && version != "0"
}

// selecting has the server select what it lists and watches, by a label or a field: what it then shows is true, but not
// all of the truth.
func selecting(by, what string) fault {
	return func(r *http.Request, _ <-chan struct{}) (*http.Response, error) {
		query := r.URL.Query()
		query.Set(by, what)
		r.URL.RawQuery = query.Encode()
		return nil, nil
	}
}

// reading lets a fault meet the lists and watches of a resource that fill the operator's cache.
func reading(resource string, f fault) fault {
	return only(func(r *http.Request) bool {
		return !isWrite(r) && r.URL.Query().Get("limit") == "" && strings.HasSuffix(r.URL.Path, "/"+resource)
	}, f)
}
