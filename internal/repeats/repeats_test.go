package repeats

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"
)

// told is a log whose lines come at times of the test's.
type told struct {
	*Handler
	out *bytes.Buffer
	now time.Time
}

func newTold(from slog.Level) *told {
	out := &bytes.Buffer{}
	return &told{New(slog.NewJSONHandler(out, nil), from), out, time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)}
}

func (l *told) say(t *testing.T, handler slog.Handler, level slog.Level, message string, args ...any) {
	t.Helper()
	record := slog.NewRecord(l.now, level, message, 0)
	record.Add(args...)
	if err := handler.Handle(context.Background(), record); err != nil {
		t.Fatal(err)
	}
}

func (l *told) lines() []string {
	return strings.Split(strings.TrimSuffix(l.out.String(), "\n"), "\n")
}

func TestAFailureOfEveryTwoMinutesIsSummedUp(t *testing.T) {
	l := newTold(slog.LevelWarn)
	for range 5 * 30 { // five hours
		l.say(t, l, slog.LevelWarn, "CSI call", "volume", "a", "error", errors.New("denied"), "took", l.now.String())
		l.now = l.now.Add(2 * time.Minute)
	}
	lines := l.lines()
	if len(lines) != 10 {
		t.Fatalf("%d lines:\n%s", len(lines), l.out)
	}
	if strings.Contains(lines[0], "repeated") || !strings.Contains(lines[1], `"repeated":16,"since":"2026-01-01T00:00:00Z"`) {
		t.Errorf("the first lines are\n%s\n%s", lines[0], lines[1])
	}
}

func TestAnotherVolumeOrCauseIsToldAtOnce(t *testing.T) {
	l := newTold(slog.LevelWarn)
	of := l.WithAttrs([]slog.Attr{slog.String("pod", "p")})
	for _, handler := range []slog.Handler{l, of, l.WithAttrs([]slog.Attr{slog.String("pod", "q")}), l.WithGroup("g")} {
		for range 3 {
			l.say(t, handler, slog.LevelWarn, "failed", "volume", "a", "error", "denied")
			l.say(t, handler, slog.LevelWarn, "failed", "volume", "b", "error", "denied")
			l.say(t, handler, slog.LevelWarn, "failed", "volume", "a", "error", "not found")
			l.say(t, handler, slog.LevelError, "failed", "volume", "a", "error", "denied")
		}
	}
	if got := len(l.lines()); got != 16 {
		t.Errorf("%d lines:\n%s", got, l.out)
	}
}

func TestWhatEndedAndComesAgainIsNew(t *testing.T) {
	l := newTold(slog.LevelWarn)
	l.say(t, l, slog.LevelWarn, "failed")
	l.now = l.now.Add(Over + time.Second)
	l.say(t, l, slog.LevelWarn, "failed")
	if got := l.lines(); len(got) != 2 || strings.Contains(got[1], "repeated") {
		t.Errorf("%q", got)
	}
}

func TestWhatIsBelowTheLevelIsWrittenAlways(t *testing.T) {
	l := newTold(slog.LevelWarn)
	for range 3 {
		l.say(t, l, slog.LevelInfo, "applied")
	}
	if got := len(l.lines()); got != 3 {
		t.Errorf("%d lines", got)
	}
}

func TestWhatIsRememberedIsBounded(t *testing.T) {
	l := newTold(slog.LevelWarn)
	for i := range 3 * remembered {
		l.say(t, l, slog.LevelWarn, fmt.Sprint("failure ", i))
	}
	if got := l.known.lines.Len(); got != remembered {
		t.Errorf("%d lines are remembered", got)
	}
	if got := len(l.lines()); got != 3*remembered {
		t.Errorf("%d lines of %d different ones were written", got, 3*remembered)
	}
}
