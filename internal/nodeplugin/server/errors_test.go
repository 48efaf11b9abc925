package server

import (
	"fmt"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/image-csi/image-csi-operator/internal/nodeplugin/imagestore"
)

func TestAnErrorOfTheStoreIsToldInTheSameWordsAtEveryTryWithItsCause(t *testing.T) {
	told := map[string]bool{}
	for try := range 3 {
		err := toStatus(fmt.Errorf("%w: containerd cannot unpack it: mount callback failed on /tmp/containerd-mount%d: %s: no such file or directory",
			imagestore.ErrUnsupported, 412513388+try, strings.Repeat("long/", 500)))
		text := status.Convert(err).Message()
		told[text] = true
		if status.Code(err) != codes.FailedPrecondition || len(text) > maxMessage ||
			!strings.HasPrefix(text, "image cannot be mounted: ") || !strings.HasSuffix(text, ": no such file or directory") {
			t.Errorf("got %v", err)
		}
	}
	if len(told) != 1 {
		t.Errorf("told in %d ways: %v", len(told), told)
	}
}
