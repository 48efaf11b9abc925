package legacymetrics

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/image-csi/image-csi-operator/internal/nodeplugin/pull"
	"github.com/image-csi/image-csi-operator/internal/nodeplugin/server"
	"github.com/image-csi/image-csi-operator/internal/nodeplugin/volume"
)

// answer is what everything below answers.
type answer struct {
	server.Volumes
	err error
}

func (a answer) Ensure(context.Context, pull.Request) error { return a.err }

func (a answer) Publish(context.Context, volume.Request) error { return a.err }

func (a answer) Unpublish(context.Context, string, string) error { return a.err }

func TestFailuresAreCountedAsTheLegacyDriverDoes(t *testing.T) {
	m, w := added()
	for _, err := range []error{nil, errors.New("no mount"), &pull.Error{Kind: pull.Denied}} {
		a := answer{err: err}
		_ = w.Images(a).Ensure(t.Context(), pull.Request{})
		_ = w.Volumes(a).Publish(t.Context(), volume.Request{})
		_ = w.Volumes(a).Unpublish(t.Context(), "", "")
	}
	scraped := scrape(t, m)
	for operation, times := range map[string]string{"pull-async-wait": "2", "mount": "1", "unmount": "2"} {
		want := `warm_metal_operation_errors_total{operation_type="` + operation + `"} ` + times + "\n"
		if !strings.Contains(scraped, want) {
			t.Errorf("the scrape lacks %s", want)
		}
	}
}
