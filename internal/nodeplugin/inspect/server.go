package inspect

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"time"

	"github.com/image-csi/image-csi-operator/internal/liveview"
	"github.com/image-csi/image-csi-operator/internal/nodeplugin/recent"
	"github.com/image-csi/image-csi-operator/internal/nodeplugin/recoverpanic"
)

const (
	// answerAge is how old an answer may be. Whoever asks more often gets the same one, so that questions cost the node no more than a
	// look in this time.
	answerAge = 2 * time.Second

	// askTimeout bounds one look.
	askTimeout = 5 * time.Second

	// maxAtOnce is how many requests are served at a time; further ones are told to come back.
	maxAtOnce = 4

	// maxMessage bounds the text of an error, in bytes.
	maxMessage = 1024
)

// Sources are where the documents come from. Each may be called at the same time as the others.
type Sources struct {
	Info    func(context.Context) (liveview.Info, error)
	Volumes func(context.Context) ([]liveview.Volume, error)
	Images  func(context.Context) ([]liveview.Image, error)
	Pulls   func(context.Context) ([]liveview.Pull, error)
	Orphans func(context.Context) ([]liveview.Orphan, error)
}

// Listen listens for the server. It refuses an address that is not on the loopback, where others would reach it.
func Listen(address string) (net.Listener, error) {
	at, err := netip.ParseAddrPort(address)
	if err != nil {
		return nil, fmt.Errorf("the live view's address %q is not of the form 127.0.0.1:PORT: %w", address, err)
	}
	if !at.Addr().IsLoopback() {
		return nil, fmt.Errorf("the live view's address %s is not on the loopback, and everybody who reached it could read it", address)
	}
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("serving the live view: %w", err)
	}
	return listener, nil
}

// NewServer returns the HTTP server, with limits on what a request is and takes.
func NewServer(from Sources, log *slog.Logger) *http.Server {
	mux := http.NewServeMux()
	mux.Handle("GET "+liveview.InfoPath, document(question(log, from.Info)))
	mux.Handle("GET "+liveview.VolumesPath, list("VolumeList", question(log, sorted(from.Volumes, liveview.Volume.Key))))
	mux.Handle("GET "+liveview.ImagesPath, list("ImageList", question(log, sorted(from.Images, liveview.Image.Key))))
	mux.Handle("GET "+liveview.PullsPath, list("PullList", question(log, sorted(from.Pulls, liveview.Pull.Key))))
	mux.Handle("GET "+liveview.OrphansPath, list("OrphanList", question(log, sorted(from.Orphans, liveview.Orphan.Key))))
	return &http.Server{
		Handler:           guarded(mux),
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       5 * time.Second,
		WriteTimeout:      15 * time.Second,
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    16 << 10,
	}
}

// question has a source asked at most once in answerAge, and its panics become errors.
func question[T any](log *slog.Logger, ask func(context.Context) (T, error)) *recent.Answer[T] {
	return recent.New(answerAge, func(ctx context.Context) (answer T, err error) {
		ctx, cancel := context.WithTimeout(ctx, askTimeout)
		defer cancel()
		err = recoverpanic.Guard(log, "the live view", func() (err error) {
			answer, err = ask(ctx)
			return err
		})
		return answer, err
	})
}

// guarded refuses what is no question of the loopback's own: a web page that a browser was led here with has another host's name in
// its requests (DNS rebinding). Requests have no body.
func guarded(next http.Handler) http.Handler {
	turns := make(chan struct{}, maxAtOnce)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case !isLoopback(r.Host):
			fail(w, http.StatusMisdirectedRequest, "this is served to the loopback only, and the request names another host")
			return
		case r.Header.Get("Origin") != "":
			fail(w, http.StatusForbidden, "this is not served to web pages")
			return
		case r.Method != http.MethodGet || r.ContentLength != 0:
			fail(w, http.StatusMethodNotAllowed, "this can be read only, by GET without a body")
			return
		}
		select {
		case turns <- struct{}{}:
			defer func() { <-turns }()
			next.ServeHTTP(w, r)
		default:
			w.Header().Set("Retry-After", "1")
			fail(w, http.StatusServiceUnavailable, "too many questions at a time; ask again in a second")
		}
	})
}

// isLoopback reports whether the Host header of a request names the loopback.
func isLoopback(host string) bool {
	name, _, err := net.SplitHostPort(host)
	if err != nil {
		name = host
	}
	if name == "localhost" {
		return true
	}
	address, err := netip.ParseAddr(name)
	return err == nil && address.IsLoopback()
}

// document serves a single document.
func document(ask *recent.Answer[liveview.Info]) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer, err := ask.Get(r.Context())
		if err != nil {
			fail(w, http.StatusServiceUnavailable, err.Error())
			return
		}
		answer.Header = liveview.HeaderOf("Info")
		write(w, http.StatusOK, answer)
	})
}

func fail(w http.ResponseWriter, code int, message string) {
	if len(message) > maxMessage {
		message = message[:maxMessage]
	}
	write(w, code, liveview.Failure{Header: liveview.HeaderOf("Failure"), Message: message})
}

func write(w http.ResponseWriter, code int, answer any) {
	text, err := json.Marshal(answer)
	if err != nil {
		http.Error(w, "the answer cannot be written", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(code)
	_, _ = w.Write(append(text, '\n'))
}
