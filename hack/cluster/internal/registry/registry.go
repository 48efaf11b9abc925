package registry

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"
)

// manifestLimit bounds what is read of one manifest; registries commonly take 4 MiB.
const manifestLimit = 4 << 20

// Open returns a registry that keeps its content in dir.
//
// The registry of go-containerregistry has its layers on disk and its manifests in memory. This one also writes each
// manifest that was accepted to a file, and pushes them all to itself when it is opened. Repositories named
// private/USER/… ask for the user's password, and those named faulty/KIND/… fail.
func Open(dir string) (http.Handler, error) {
	blobs := filepath.Join(dir, "blobs")
	manifests := filepath.Join(dir, "manifests")
	for _, d := range []string{blobs, manifests} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return nil, err
		}
	}
	inner := registry.New(
		registry.WithBlobHandler(registry.NewDiskBlobHandler(blobs)),
		registry.WithReferrersSupport(true),
		registry.Logger(log.New(io.Discard, "", 0)),
	)
	h := &handler{inner: inner, dir: manifests}
	if err := h.restore(); err != nil {
		return nil, err
	}
	return guard(faulty(h)), nil
}

type handler struct {
	inner http.Handler
	dir   string
}

// stored is a manifest as it was pushed.
type stored struct {
	Path        string `json:"path"` // of the URL: /v2/REPOSITORY/manifests/REFERENCE
	ContentType string `json:"contentType"`
	Body        []byte `json:"body"`
}

func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodGet && r.Header.Get("Range") != "" {
		serveRange(h.inner, w, r)
		return
	}
	if !strings.Contains(r.URL.Path, "/manifests/") || r.Method != http.MethodPut && r.Method != http.MethodDelete {
		h.inner.ServeHTTP(w, r)
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, manifestLimit))
	if err != nil {
		http.Error(w, err.Error(), http.StatusRequestEntityTooLarge)
		return
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	answer := &statusRecorder{ResponseWriter: w, status: http.StatusOK}
	h.inner.ServeHTTP(answer, r)
	if answer.status >= 300 {
		return
	}
	m := stored{Path: r.URL.Path, ContentType: r.Header.Get("Content-Type"), Body: body}
	if err := h.keep(r.Method, m); err != nil {
		log.Printf("registry: %s will not survive a restart: %v", m.Path, err)
	}
}

// serveRange serves what a runtime still lacks of a blob; the registry itself takes no open range.
func serveRange(inner http.Handler, w http.ResponseWriter, r *http.Request) {
	answer := whole(inner, r)
	if answer.Code != http.StatusOK {
		inner.ServeHTTP(w, r)
		return
	}
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(answer.Body.Bytes()))
}

// whole is the answer to a request without its range.
func whole(inner http.Handler, r *http.Request) *httptest.ResponseRecorder {
	request := r.Clone(r.Context())
	request.Header.Del("Range")
	answer := httptest.NewRecorder()
	inner.ServeHTTP(answer, request)
	return answer
}

func (h *handler) keep(method string, m stored) error {
	file := h.file(m.Path)
	if method == http.MethodDelete {
		return os.Remove(file)
	}
	data, err := json.Marshal(m)
	if err != nil {
		return err
	}
	if err := os.WriteFile(file+".new", data, 0o644); err != nil {
		return err
	}
	return os.Rename(file+".new", file)
}

func (h *handler) file(path string) string {
	sum := sha256.Sum256([]byte(path))
	return filepath.Join(h.dir, hex.EncodeToString(sum[:])+".json")
}

// restore pushes the kept manifests. An index is refused while an image that it names is missing, so what was refused
// is tried again for as long as others get in.
func (h *handler) restore() error {
	pending, err := h.load()
	if err != nil {
		return err
	}
	for len(pending) > 0 {
		var refused []stored
		for _, m := range pending {
			if !h.push(m) {
				refused = append(refused, m)
			}
		}
		if len(refused) == len(pending) {
			log.Printf("registry: %d manifests could not be restored, the first is %s", len(refused), refused[0].Path)
			return nil
		}
		pending = refused
	}
	return nil
}

func (h *handler) load() ([]stored, error) {
	files, err := filepath.Glob(filepath.Join(h.dir, "*.json"))
	if err != nil {
		return nil, err
	}
	var all []stored
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		var m stored
		if err := json.Unmarshal(data, &m); err != nil {
			return nil, fmt.Errorf("read %s: %w", file, err)
		}
		all = append(all, m)
	}
	return all, nil
}

func (h *handler) push(m stored) bool {
	request := httptest.NewRequest(http.MethodPut, m.Path, bytes.NewReader(m.Body))
	request.Header.Set("Content-Type", m.ContentType)
	answer := httptest.NewRecorder()
	h.inner.ServeHTTP(answer, request)
	return answer.Code < 300
}

type statusRecorder struct {
	http.ResponseWriter
	status int
}

func (s *statusRecorder) WriteHeader(status int) {
	s.status = status
	s.ResponseWriter.WriteHeader(status)
}
