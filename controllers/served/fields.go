package served

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/image-csi/image-csi-operator/internal/operator/render"
)

const (
	// maxDocument bounds an OpenAPI document; that of storage.k8s.io has some hundred kilobytes.
	maxDocument = 16 << 20
	// askAgainAfter is when an API server that lacked a field is asked again: it may have been upgraded.
	askAgainAfter = 10 * time.Minute
)

// Fields knows which of the newer fields the API server lacks. Drivers are reconciled one at a time, so it needs no lock.
type Fields struct {
	// document reads an OpenAPI document.
	document func(ctx context.Context, path string) ([]byte, error)
	clock    clock.PassiveClock
	lacking  render.Lacking
	asked    time.Time
}

// NewFields asks the API server of a configuration.
func NewFields(config *rest.Config, client *http.Client, now clock.PassiveClock) *Fields {
	return &Fields{clock: now, document: func(ctx context.Context, path string) ([]byte, error) {
		return fetch(ctx, config, client, path)
	}}
}

// Lacks returns the fields that the API server does not know. It asks once, and again later only if the server lacked a
// field. While the server does not answer, its last answer counts; before the first answer, it counts as knowing all fields.
func (s *Fields) Lacks(ctx context.Context) render.Lacking {
	if !s.asked.IsZero() && (len(s.lacking) == 0 || s.clock.Since(s.asked) < askAgainAfter) {
		return s.lacking
	}
	lacking := render.Lacking{}
	for _, field := range render.ServedFields() {
		has, err := s.has(ctx, field)
		if err != nil {
			log.FromContext(ctx).Error(err, "Cannot find out whether the API server knows a field", "field", field.Property)
			return s.lacking
		}
		if !has {
			lacking.Insert(field)
		}
	}
	s.lacking, s.asked = lacking, s.clock.Now()
	return lacking
}

// Forget has Lacks ask again after the server has refused a field: another API server of the control plane may be older.
func (s *Fields) Forget(refusal error) {
	// The words of structured-merge-diff, which checks what is applied.
	if refusal != nil && strings.Contains(refusal.Error(), "field not declared in schema") {
		s.asked = time.Time{}
	}
}

func (s *Fields) has(ctx context.Context, field render.ServedField) (bool, error) {
	text, err := s.document(ctx, "/openapi/v3/apis/"+field.Group+"/"+field.Version)
	if err != nil {
		return false, err
	}
	var document struct {
		Components struct {
			Schemas map[string]struct {
				Properties map[string]json.RawMessage `json:"properties"`
			} `json:"schemas"`
		} `json:"components"`
	}
	if err := json.Unmarshal(text, &document); err != nil {
		return false, fmt.Errorf("read the API server's OpenAPI document of %s/%s: %w", field.Group, field.Version, err)
	}
	schema, found := document.Components.Schemas[field.Schema]
	if !found {
		return false, fmt.Errorf("the API server's OpenAPI document of %s/%s has no %s", field.Group, field.Version, field.Schema)
	}
	_, has := schema.Properties[field.Property]
	return has, nil
}

// fetch reads a document that the API server has for every client.
func fetch(ctx context.Context, config *rest.Config, client *http.Client, path string) ([]byte, error) {
	base, _, err := rest.DefaultServerUrlFor(config)
	if err != nil {
		return nil, fmt.Errorf("find the API server: %w", err)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, base.JoinPath(path).String(), nil)
	if err != nil {
		return nil, fmt.Errorf("ask for %s: %w", path, err)
	}
	request.Header.Set("Accept", "application/json")
	response, err := client.Do(request)
	if err != nil {
		return nil, fmt.Errorf("ask for %s: %w", path, err)
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("ask for %s: the API server answers %s", path, response.Status)
	}
	text, err := io.ReadAll(io.LimitReader(response.Body, maxDocument))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	return text, nil
}
