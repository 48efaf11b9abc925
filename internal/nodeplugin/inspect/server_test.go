package inspect

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/image-csi/image-csi-operator/internal/liveview"
)

// node has so many volumes, and counts how often they are asked for.
func node(volumes int, asked *atomic.Int64) Sources {
	return Sources{
		Info: func(context.Context) (liveview.Info, error) { return liveview.Info{Node: "n1"}, nil },
		Volumes: func(context.Context) (out []liveview.Volume, _ error) {
			asked.Add(1)
			for i := range volumes { // in no order
				out = append(out, liveview.Volume{Pod: fmt.Sprintf("uid-%04d", (i*7919)%volumes), Name: "data"})
			}
			return out, nil
		},
		Images: func(context.Context) ([]liveview.Image, error) {
			return nil, errors.New(strings.Repeat("long ", 1<<16))
		},
		Pulls:   func(context.Context) ([]liveview.Pull, error) { panic("oh no") },
		Orphans: func(context.Context) ([]liveview.Orphan, error) { return nil, nil },
	}
}

func handler(s Sources) http.Handler { return NewServer(s, slog.New(slog.DiscardHandler)).Handler }

// get asks as a client on the loopback does.
func get(h http.Handler, path string, change ...func(*http.Request)) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodGet, path, nil)
	r.Host = "127.0.0.1:8082"
	for _, c := range change {
		c(r)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func volumesIn(t *testing.T, w *httptest.ResponseRecorder) liveview.List[liveview.Volume] {
	t.Helper()
	var page liveview.List[liveview.Volume]
	if err := json.Unmarshal(w.Body.Bytes(), &page); err != nil || w.Code != http.StatusOK || page.Kind != "VolumeList" || page.APIVersion != liveview.APIVersion {
		t.Fatalf("%d, %v: %.300s", w.Code, err, w.Body)
	}
	return page
}

func TestAListHasEveryItemOnceOverItsPages(t *testing.T) {
	var asked atomic.Int64
	h := handler(node(1001, &asked))
	for _, limit := range []int{7, 99, 250, 1 << 30} {
		var keys []string
		pages, next := 0, ""
		for pages == 0 || next != "" {
			page := volumesIn(t, get(h, fmt.Sprintf("/v1/volumes?limit=%d&continue=%s", limit, next)))
			if len(page.Items) > min(limit, liveview.MaxPage) {
				t.Fatalf("a page of %d for limit %d", len(page.Items), limit)
			}
			for _, v := range page.Items {
				keys = append(keys, v.Key())
			}
			pages, next = pages+1, page.Continue
		}
		for i, key := range keys {
			if want := fmt.Sprintf("uid-%04d/data", i); key != want {
				t.Fatalf("limit %d: item %d is %s, want %s", limit, i, key, want)
			}
		}
		if len(keys) != 1001 {
			t.Errorf("limit %d: %d items on %d pages", limit, len(keys), pages)
		}
	}
	if n := asked.Load(); n > 2 {
		t.Errorf("the node was looked at %d times in a moment", n)
	}
}

func TestAnAnswerIsBoundedWhateverItsItemsAre(t *testing.T) {
	sources := node(0, new(atomic.Int64))
	sources.Volumes = func(context.Context) (out []liveview.Volume, _ error) {
		for i := range 200 {
			out = append(out, liveview.Volume{Pod: fmt.Sprintf("uid-%04d", i), Image: strings.Repeat("\x1b", 16<<10)})
		}
		return out, nil
	}
	w := get(handler(sources), "/v1/volumes")
	if page := volumesIn(t, w); w.Body.Len() > liveview.MaxAnswer || page.Continue == "" || len(page.Items) == 0 {
		t.Errorf("%d bytes, %d items, continue %q", w.Body.Len(), len(page.Items), page.Continue)
	}
}

func TestWhatIsNoQuestionOfTheLoopbackIsRefused(t *testing.T) {
	h := handler(node(1, new(atomic.Int64)))
	for name, c := range map[string]struct {
		path   string
		change func(*http.Request)
		code   int
	}{
		"an address":        {"/v1/info", func(r *http.Request) { r.Host = "127.0.0.1" }, 200},
		"localhost":         {"/v1/info", func(r *http.Request) { r.Host = "localhost:8082" }, 200},
		"IPv6":              {"/v1/info", func(r *http.Request) { r.Host = "[::1]:8082" }, 200},
		"another host":      {"/v1/info", func(r *http.Request) { r.Host = "evil.example:8082" }, 421},
		"the pod's address": {"/v1/info", func(r *http.Request) { r.Host = "10.0.0.7:8082" }, 421},
		"no host":           {"/v1/info", func(r *http.Request) { r.Host = "" }, 421},
		"a look-alike":      {"/v1/info", func(r *http.Request) { r.Host = "127.0.0.1.evil.example" }, 421},
		"a web page":        {"/v1/info", func(r *http.Request) { r.Header.Set("Origin", "http://localhost") }, 403},
		"a write":           {"/v1/info", func(r *http.Request) { r.Method = http.MethodPost }, 405},
		"a HEAD":            {"/v1/info", func(r *http.Request) { r.Method = http.MethodHead }, 405},
		"a body":            {"/v1/info", func(r *http.Request) { r.ContentLength = 1 << 20 }, 405},
		"another path":      {"/v1/secrets", func(*http.Request) {}, 404},
		"no number":         {"/v1/volumes?limit=all", func(*http.Request) {}, 400},
		"no items":          {"/v1/volumes?limit=0", func(*http.Request) {}, 400},
		"a made-up page":    {"/v1/volumes?continue=%20", func(*http.Request) {}, 400},
		"an empty list":     {"/v1/orphans", func(*http.Request) {}, 200},
	} {
		w := get(h, c.path, c.change)
		if w.Code != c.code || w.Header().Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("%s: %d, want %d: %s", name, w.Code, c.code, w.Body)
		}
	}
	if got := get(h, "/v1/orphans").Body.String(); !strings.Contains(got, `"items":[]`) {
		t.Errorf("an empty list is %s", got)
	}
}

func TestAFailureIsAShortAnswerAndEndsNothing(t *testing.T) {
	h := handler(node(1, new(atomic.Int64)))
	for path, says := range map[string]string{"/v1/images": "long ", "/v1/pulls": "defect"} {
		w := get(h, path)
		var failure liveview.Failure
		if err := json.Unmarshal(w.Body.Bytes(), &failure); err != nil || w.Code != 503 || !strings.Contains(failure.Message, says) || len(failure.Message) > 1024 {
			t.Errorf("%s: %d, %v, %d bytes: %.100s", path, w.Code, err, len(failure.Message), failure.Message)
		}
	}
}

func TestManyQuestionsAtOnceAreToldToComeBack(t *testing.T) {
	resume, entered := make(chan struct{}), make(chan struct{})
	h := guarded(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		entered <- struct{}{}
		<-resume
	}))
	var first sync.WaitGroup
	for range maxAtOnce {
		first.Go(func() { get(h, "/") })
		<-entered
	}
	if w := get(h, "/"); w.Code != 503 || w.Header().Get("Retry-After") == "" {
		t.Errorf("%d beside %d others", w.Code, maxAtOnce)
	}
	close(resume)
	first.Wait()
	go func() { <-entered }()
	if w := get(h, "/"); w.Code != 200 {
		t.Errorf("afterwards: %d", w.Code)
	}
}

func TestItListensOnTheLoopbackOnly(t *testing.T) {
	for _, address := range []string{":8082", "0.0.0.0:0", "[::]:0", "10.0.0.1:8082", "localhost:0", "x"} {
		if l, err := Listen(address); err == nil {
			l.Close()
			t.Errorf("%s was taken", address)
		}
	}
	l, err := Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
}
