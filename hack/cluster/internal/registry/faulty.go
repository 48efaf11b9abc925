package registry

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"time"
)

// faultyPrefix is what the names of repositories with a fault start with: faulty/KIND/… has the fault KIND until
// something is pushed to it under the tag HealedTag.
const faultyPrefix = "faulty/"

// HealedTag ends a repository's fault.
const HealedTag = "healed"

// The kinds of fault: those of blobs by name, and every number of an HTTP status for manifests.
const (
	FaultHang   = "hang"   // a blob stops in the middle until the fault ends
	FaultCut    = "cut"    // the connection is closed in the middle of a blob
	FaultDigest = "digest" // a blob is not what its digest says
)

// smallBlob is more than an image's configuration has: faults are for layers.
const smallBlob = 64 << 10

// hangLimit bounds FaultHang, and hangPoll is how soon its end is noticed.
const (
	hangLimit = 2 * time.Minute
	hangPoll  = 100 * time.Millisecond
)

// faulty lets runtimes meet faults. Pushes, which go-containerregistry makes, meet none.
func faulty(inner http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		kind, repository := fault(r.URL.Path)
		pull := (r.Method == http.MethodGet || r.Method == http.MethodHead) && !strings.HasPrefix(r.UserAgent(), "go-containerregistry")
		if kind == "" || !pull {
			inner.ServeHTTP(w, r)
			return
		}
		if healed(inner, repository) {
			inner.ServeHTTP(w, r)
			return
		}
		status, err := strconv.Atoi(kind)
		switch manifest := strings.Contains(r.URL.Path, "/manifests/"); {
		case err == nil && manifest:
			refuse(w, status)
		case err != nil && !manifest && r.Method == http.MethodGet:
			spoil(inner, w, r, kind, repository)
		default:
			inner.ServeHTTP(w, r)
		}
	})
}

// fault returns the kind of a repository's fault, "" for none, and the repository.
func fault(path string) (kind, repository string) {
	rest, ok := strings.CutPrefix(path, "/v2/"+faultyPrefix)
	if !ok {
		return "", ""
	}
	kind, _, _ = strings.Cut(rest, "/")
	for _, end := range []string{"/manifests/", "/blobs/"} {
		if i := strings.Index(path, end); i > 0 {
			return kind, strings.TrimPrefix(path[:i], "/v2/")
		}
	}
	return "", ""
}

func healed(inner http.Handler, repository string) bool {
	answer := httptest.NewRecorder()
	inner.ServeHTTP(answer, httptest.NewRequest(http.MethodHead, "/v2/"+repository+"/manifests/"+HealedTag, nil))
	return answer.Code == http.StatusOK
}

func refuse(w http.ResponseWriter, status int) {
	w.Header().Set("Content-Type", "application/json")
	if status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", challenge)
	}
	w.WriteHeader(status)
	code := strings.ToUpper(strings.ReplaceAll(http.StatusText(status), " ", ""))
	_, _ = fmt.Fprintf(w, `{"errors":[{"code":%q,"message":%q}]}`, code, strings.ToLower(http.StatusText(status)))
}

// spoil serves a blob with a fault in its second half.
func spoil(inner http.Handler, w http.ResponseWriter, r *http.Request, kind, repository string) {
	answer := whole(inner, r)
	blob := answer.Body.Bytes()
	if len(blob) < smallBlob {
		inner.ServeHTTP(w, r)
		return
	}
	w.Header().Set("Content-Length", strconv.Itoa(len(blob)))
	w.WriteHeader(answer.Code)
	half := len(blob) / 2
	_, _ = w.Write(blob[:half])
	_ = http.NewResponseController(w).Flush()
	switch kind {
	case FaultCut:
		panic(http.ErrAbortHandler) //nolint:forbidigo // how a handler of net/http closes its connection
	case FaultDigest:
		for i := half; i < len(blob); i++ {
			blob[i] ^= 0xff
		}
	case FaultHang:
		for waited := time.Duration(0); waited < hangLimit && r.Context().Err() == nil && !healed(inner, repository); waited += hangPoll {
			time.Sleep(hangPoll)
		}
	}
	_, _ = w.Write(blob[half:])
}
