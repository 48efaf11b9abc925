package quantity

import (
	"errors"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/resource"
)

func TestParse(t *testing.T) {
	for text, want := range map[string]int64{
		"0": 0, "1": 1, "1Ki": 1 << 10, "500Mi": 500 << 20, "1.5Gi": 3 << 29, ".5Gi": 1 << 29, "1.Gi": 1 << 30, "1k": 1000, "2M": 2_000_000,
		"1e3": 1000, "1E3": 1000, "1E": 1_000_000_000_000_000_000, "1Ei": Max, "1e18": 1_000_000_000_000_000_000,
		"1500m": 2, "1n": 1, "0.1": 1, "1500000.5": 1500001, "0e99": 0, "1152921504606846976": Max,
		strings.Repeat("0", 50) + "7Mi": 7 << 20,
	} {
		if got, err := Parse(text); err != nil || got != want {
			t.Errorf("Parse(%q) = %d, %v; want %d", text, got, err, want)
		}
		agrees(t, text, want)
	}
}

func TestParseRefuses(t *testing.T) {
	for text, want := range map[string]error{
		"": ErrForm, "much": ErrForm, "1 Gi": ErrForm, "1Gi\n": ErrForm, "1gi": ErrForm, "1GiB": ErrForm, ".": ErrForm, "1e": ErrForm, "1e1.5": ErrForm,
		"0x10": ErrForm, "٣Gi": ErrForm, strings.Repeat("1", maxText+1): ErrForm, "1.2.3": ErrForm,
		"-1": ErrSign, "+1Gi": ErrSign, "1e-3": ErrSign, "1e+3": ErrSign,
		"2Ei": ErrTooLarge, "1e99": ErrTooLarge, "1e100": ErrTooLarge, "1E99999": ErrTooLarge, "1152921504606846977": ErrTooLarge,
		"9223372036854775808": ErrTooLarge, strings.Repeat("9", maxText): ErrTooLarge, "999999999999999999999Ei": ErrTooLarge,
	} {
		if got, err := Parse(text); !errors.Is(err, want) {
			t.Errorf("Parse(%q) = %d, %v; want %v", text, got, err, want)
		}
	}
}

// agrees wants Kubernetes' own library to read the same from a text that was taken, and to write it in the same way.
func agrees(t *testing.T, text string, bytes int64) {
	t.Helper()
	library, err := resource.ParseQuantity(text)
	if err != nil || library.Value() != bytes {
		t.Errorf("%q: %d bytes, but the library reads %d, %v", text, bytes, library.Value(), err)
	}
	// The library writes fewer bytes with decimal units.
	if got, want := Format(bytes), resource.NewQuantity(bytes, resource.BinarySI).String(); bytes >= 1024 && got != want {
		t.Errorf("%d bytes are written %s, by the library %s", bytes, got, want)
	}
}

// costly are texts of few bytes with which the library computes for seconds to hours.
var costly = []string{
	"1e-2147483647", "1e2147483647", "1E-9999999", "9e-99999999", "0.1e-29999999", "1e99999999999999999999", "-1e-2147483647",
	"1e+2147483647", "1e-0000000002147483647",
}

func TestNoTextCostsMoreThanALook(t *testing.T) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		for _, text := range costly {
			if _, err := Parse(text); err == nil {
				t.Errorf("%q was taken", text)
			}
		}
	}()
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		t.Fatal("still parsing after ten seconds")
	}
}

func TestFormatIsReadBack(t *testing.T) {
	for bytes, want := range map[int64]string{0: "0", 1: "1", 9 << 20: "9Mi", 3 << 29: "1536Mi", 2_000_000: "2000000", Max: "1Ei"} {
		text := Format(bytes)
		if again, err := Parse(text); text != want || err != nil || again != bytes {
			t.Errorf("Format(%d) = %q, read back as %d, %v; want %q", bytes, text, again, err, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{"1Gi", "1e3", "-5", "0.1", "1E", "999999999999999999999Ei", "", ".5Ki", "1500m", "1e99"} {
		f.Add(seed)
	}
	for _, seed := range costly {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		bytes, err := Parse(text)
		switch {
		case err != nil:
			if bytes != 0 || !errors.Is(err, ErrForm) && !errors.Is(err, ErrSign) && !errors.Is(err, ErrTooLarge) {
				t.Errorf("%q: %d, %v", text, bytes, err)
			}
		case bytes < 0 || bytes > Max:
			t.Errorf("%q: %d bytes", text, bytes)
		}
		if err == nil {
			agrees(t, text, bytes)
			if again, err := Parse(Format(bytes)); err != nil || again != bytes {
				t.Errorf("%q: %d bytes, read back as %d, %v", text, bytes, again, err)
			}
		}
	})
}
