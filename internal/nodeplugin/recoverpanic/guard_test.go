package recoverpanic

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"
)

func TestAPanicIsAnErrorAndItsStackIsLogged(t *testing.T) {
	var out bytes.Buffer
	log := slog.New(slog.NewJSONHandler(&out, nil))
	err := Guard(log, "a test", func() error { panic("oh no") })
	if err == nil || strings.Contains(err.Error(), "oh no") {
		t.Errorf("got %v", err)
	}
	for _, want := range []string{"please report this", "oh no", "a test", "guard_test.go"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the log lacks %q: %s", want, out.String())
		}
	}
	mine := errors.New("mine")
	if err := Guard(log, "", func() error { return mine }); !errors.Is(err, mine) {
		t.Errorf("an error of the work itself became %v", err)
	}
}
