package inspect

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/image-csi/image-csi-operator/internal/liveview"
	"github.com/image-csi/image-csi-operator/internal/nodeplugin/recent"
)

// keyed is an item with its key.
type keyed[T any] struct {
	key  string
	item T
}

// sorted has the items of a source sorted by their keys, once for all requests that share them.
func sorted[T any](ask func(context.Context) ([]T, error), key func(T) string) func(context.Context) ([]keyed[T], error) {
	return func(ctx context.Context) ([]keyed[T], error) {
		items, err := ask(ctx)
		out := make([]keyed[T], 0, len(items))
		for _, item := range items {
			out = append(out, keyed[T]{key(item), item})
		}
		slices.SortFunc(out, func(a, b keyed[T]) int { return strings.Compare(a.key, b.key) })
		return out, err
	}
}

// list serves a list in pages. A page begins after the key with which the one before ended, so what comes or goes between two pages
// moves nothing else.
func list[T any](kind string, ask *recent.Answer[[]keyed[T]]) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		from, err := pageOf(r.URL.Query())
		if err != nil {
			fail(w, http.StatusBadRequest, err.Error())
			return
		}
		items, err := ask.Get(r.Context())
		if err != nil {
			fail(w, http.StatusServiceUnavailable, err.Error())
			return
		}
		answer, err := cut(items, from)
		if err != nil {
			fail(w, http.StatusInternalServerError, "an item cannot be written")
			return
		}
		answer.Header = liveview.HeaderOf(kind)
		write(w, http.StatusOK, answer)
	})
}

// page is a part of a list: so many items after a key.
type page struct {
	after string
	limit int
}

// pageOf reads the parameters of a request.
func pageOf(query url.Values) (page, error) {
	from := page{limit: liveview.MaxPage}
	if text := query.Get(liveview.LimitParameter); text != "" {
		limit, err := strconv.Atoi(text)
		if err != nil || limit < 1 {
			return from, fmt.Errorf("%s %.32q is not a number from 1 on", liveview.LimitParameter, text)
		}
		from.limit = min(limit, liveview.MaxPage)
	}
	after, err := base64.RawURLEncoding.DecodeString(query.Get(liveview.ContinueParameter))
	if err != nil {
		return from, fmt.Errorf("%s is not that of an earlier answer", liveview.ContinueParameter)
	}
	from.after = string(after)
	return from, nil
}

// cut returns a page of sorted items. It has fewer items where more would be too many bytes, but at least one.
func cut[T any](all []keyed[T], from page) (liveview.List[json.RawMessage], error) {
	out := liveview.List[json.RawMessage]{Items: []json.RawMessage{}}
	first, found := slices.BinarySearchFunc(all, from.after, func(k keyed[T], after string) int { return strings.Compare(k.key, after) })
	if found {
		first++
	}
	size := 0
	for i, k := range all[first:] {
		text, err := json.Marshal(k.item)
		if err != nil {
			return out, err
		}
		size += len(text)
		if i == from.limit || (i > 0 && size > liveview.MaxAnswer/2) {
			out.Continue = base64.RawURLEncoding.EncodeToString([]byte(all[first+i-1].key))
			return out, nil
		}
		out.Items = append(out.Items, text)
	}
	return out, nil
}
