package dashboard

import (
	"context"
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/prometheus/prometheus/promql"

	"github.com/image-csi/image-csi-operator/test/internal/picture"
)

const (
	// File is the dashboard, in the checkout.
	File = "config/dashboard/dashboard.json"

	// rateInterval is what Grafana makes of scrapeInterval, and some more for a busy machine.
	rateInterval = "10s"
)

// IsOfOperator reports whether a panel needs the operator's own metrics. The others are about node plugins.
func IsOfOperator(p picture.Panel) bool {
	return p.FieldConfig.Defaults.NoValue == "The operator is not scraped"
}

// IsOfNodePlugins reports whether a panel needs the metrics of node plugins.
func IsOfNodePlugins(p picture.Panel) bool { return p.Type != "row" && !IsOfOperator(p) }

// Shows wants each query of some panels of the dashboard to find a number in what was scraped, and returns how many that are. Those in
// empty, by the title of their panel, must find none; the value is the reason.
func (r *Recorder) Shows(t *testing.T, root string, which func(picture.Panel) bool, empty map[string]string) (asked int) {
	t.Helper()
	r.finish()
	if r.failed != nil {
		t.Fatal(r.failed)
	}
	frame := r.frame()
	for _, panel := range r.board(t, root).Panels {
		if !which(panel) {
			continue
		}
		for _, target := range panel.Targets {
			query := target.Query(rateInterval)
			found, err := r.ask(frame)(t.Context(), query)
			if err != nil {
				t.Fatal(err)
			}
			asked++
			shows, reason := slices.ContainsFunc(found, hasNumber), empty[panel.Title]
			if !shows && reason == "" {
				t.Errorf("panel %q shows nothing: %s", panel.Title, query)
			}
			if shows && reason != "" {
				t.Errorf("panel %q shows something, although %s: %s", panel.Title, reason, query)
			}
		}
	}
	return asked
}

// Draw draws sections of the dashboard into a file of the directory that IMAGECSI_PICTURES names, if it does.
func (r *Recorder) Draw(t *testing.T, root, file string, sections ...string) {
	t.Helper()
	dir := os.Getenv("IMAGECSI_PICTURES")
	if dir == "" {
		return
	}
	r.finish()
	board, frame := r.board(t, root), r.frame()
	var panels []picture.Panel
	for _, title := range sections {
		panels = append(panels, board.Section(title)...)
	}
	drawn, err := picture.Draw(t.Context(), panels, frame, r.ask(frame))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, file), drawn, 0o644); err != nil {
		t.Fatal(err)
	}
}

func (r *Recorder) board(t *testing.T, root string) picture.Board {
	t.Helper()
	board, err := picture.Read(filepath.Join(root, File))
	if err != nil {
		t.Fatal(err)
	}
	return board
}

func (r *Recorder) frame() picture.Frame {
	return picture.Frame{From: r.began, To: time.Now(), Interval: rateInterval}
}

func (r *Recorder) ask(frame picture.Frame) picture.Ask {
	return func(ctx context.Context, query string) (promql.Matrix, error) {
		return r.kept.Range(ctx, query, frame.From, frame.To, scrapeInterval)
	}
}

func hasNumber(s promql.Series) bool {
	return slices.ContainsFunc(s.Floats, func(p promql.FPoint) bool { return !math.IsNaN(p.F) })
}
