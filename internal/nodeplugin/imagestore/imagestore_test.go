package imagestore

import (
	"errors"
	"fmt"
	"testing"
)

func TestARefusalIsOneSentenceThatNamesTheImageOnce(t *testing.T) {
	for _, c := range []struct {
		err  error
		want string
	}{
		{fmt.Errorf("%w: it is an OCI artifact", ErrUnsupported), "image r.example/app:1 cannot be mounted: it is an OCI artifact"},
		{fmt.Errorf("%w: it is built for s390x", ErrOtherPlatform), "image r.example/app:1: " + ErrOtherPlatform.Error() + ": it is built for s390x"},
	} {
		refused := Refused("r.example/app:1", c.err)
		wrapped := fmt.Errorf("pinning image r.example/app:1: %w", refused)
		var r *Refusal
		if !errors.As(wrapped, &r) || r.Error() != c.want || !errors.Is(wrapped, errors.Unwrap(c.err)) {
			t.Errorf("got %v, want %s", refused, c.want)
		}
	}
	for _, err := range []error{nil, ErrNotFound, errors.New("another")} {
		if got := Refused("r.example/app:1", err); !errors.Is(got, err) || got != err { //nolint:errorlint // the same one
			t.Errorf("%v became %v", err, got)
		}
	}
}
