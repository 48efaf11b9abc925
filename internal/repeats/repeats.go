// Package repeats keeps a log from saying the same again and again. It knows neither wing: both write their logs through it.
package repeats

import (
	"context"
	"crypto/sha256"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"k8s.io/utils/lru"
)

const (
	// Again is how long a line that repeats is left out before it is written once more, with how often it repeated. The kubelet tries
	// a volume that fails every two minutes.
	Again = 30 * time.Minute

	// Over is how long a line must not have come for its next to be a new one.
	Over = time.Hour

	// remembered bounds the lines that are known. Of more, the one that came longest ago is forgotten, so it is written again.
	remembered = 2048
)

// varying are keys whose values differ from one time to the next of the same line.
var varying = []string{"took", "reconcileID"} //nolint:gochecknoglobals // a constant

// Handler writes a line at once, and what is equal to it up to its time only every half an hour, with how often it came and since when.
// Lines are equal when all they say is: the level, the message and every value, so another volume, or another cause, is another line.
type Handler struct {
	next  slog.Handler
	from  slog.Level
	given string // attributes and groups that lines begin with
	known *known
}

var _ slog.Handler = (*Handler)(nil)

// New returns a handler that writes to next. Lines below a level are written as often as they come.
func New(next slog.Handler, from slog.Level) *Handler {
	return &Handler{next: next, from: from, known: &known{lines: lru.New(remembered)}}
}

// Enabled implements slog.Handler.
func (h *Handler) Enabled(ctx context.Context, level slog.Level) bool {
	return h.next.Enabled(ctx, level)
}

// WithAttrs implements slog.Handler.
func (h *Handler) WithAttrs(attributes []slog.Attr) slog.Handler {
	var given strings.Builder
	given.WriteString(h.given)
	for _, attribute := range attributes {
		add(&given, attribute)
	}
	return &Handler{next: h.next.WithAttrs(attributes), from: h.from, given: given.String(), known: h.known}
}

// WithGroup implements slog.Handler.
func (h *Handler) WithGroup(name string) slog.Handler {
	return &Handler{next: h.next.WithGroup(name), from: h.from, given: h.given + fmt.Sprintf("%q.", name), known: h.known}
}

// Handle implements slog.Handler.
func (h *Handler) Handle(ctx context.Context, record slog.Record) error {
	if record.Level < h.from {
		return h.next.Handle(ctx, record)
	}
	write, came, since := h.known.take(h.line(record), record.Time)
	if !write {
		return nil
	}
	if came > 1 {
		record = record.Clone()
		record.AddAttrs(slog.Int("repeated", came), slog.Time("since", since))
	}
	return h.next.Handle(ctx, record)
}

func (h *Handler) line(record slog.Record) [sha256.Size]byte {
	var all strings.Builder
	fmt.Fprintf(&all, "%d %q %s", record.Level, record.Message, h.given)
	record.Attrs(func(attribute slog.Attr) bool {
		add(&all, attribute)
		return true
	})
	return sha256.Sum256([]byte(all.String()))
}

func add(to *strings.Builder, attribute slog.Attr) {
	if !slices.Contains(varying, attribute.Key) {
		fmt.Fprintf(to, "%q=%q ", attribute.Key, attribute.Value.Resolve().String())
	}
}

// known are the lines that came lately.
type known struct {
	mu    sync.Mutex
	lines *lru.Cache
}

// line is one of them.
type line struct {
	first, latest, written time.Time
	came                   int
}

// take counts a line, and returns whether to write it, how often it came, and since when.
func (k *known) take(key [sha256.Size]byte, now time.Time) (write bool, came int, since time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	found, is := k.lines.Get(key)
	if !is || now.Sub(found.(*line).latest) > Over {
		k.lines.Add(key, &line{first: now, latest: now, written: now, came: 1})
		return true, 1, now
	}
	l := found.(*line)
	l.came, l.latest = l.came+1, now
	if now.Sub(l.written) < Again {
		return false, l.came, l.first
	}
	l.written = now
	return true, l.came, l.first
}
