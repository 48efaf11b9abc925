package recording

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/tsdb"
)

// Recording is a database of samples.
type Recording struct {
	db     *tsdb.DB
	engine *promql.Engine
}

// New returns an empty recording, with files in dir. What has not been scraped for as long as lookback is gone.
func New(dir string, lookback time.Duration) (*Recording, error) {
	db, err := tsdb.Open(dir, nil, nil, tsdb.DefaultOptions(), nil)
	if err != nil {
		return nil, fmt.Errorf("make a database in %s: %w", dir, err)
	}
	return &Recording{db: db, engine: promql.NewEngine(promql.EngineOpts{
		MaxSamples: 10_000_000, Timeout: time.Minute, LookbackDelta: lookback, Parser: parser.NewParser(parser.Options{}),
	})}, nil
}

// Close gives the files up.
func (r *Recording) Close() error { return r.db.Close() }

// Add keeps the answer of a scrape at a time. The target's labels take precedence, as they do in Prometheus.
func (r *Recording) Add(ctx context.Context, at time.Time, answer []byte, target map[string]string) error {
	text := expfmt.NewTextParser(model.UTF8Validation)
	families, err := text.TextToMetricFamilies(bytes.NewReader(answer))
	if err != nil {
		return fmt.Errorf("read the metrics of %v: %w", target, err)
	}
	appender := r.db.Appender(ctx)
	for _, family := range families {
		samples, err := expfmt.ExtractSamples(&expfmt.DecodeOptions{Timestamp: model.TimeFromUnixNano(at.UnixNano())}, family)
		if err != nil {
			return fmt.Errorf("read %s of %v: %w", family.GetName(), target, err)
		}
		for _, sample := range samples {
			if _, err := appender.Append(0, named(sample.Metric, target), at.UnixMilli(), float64(sample.Value)); err != nil {
				return fmt.Errorf("keep %s of %v: %w", family.GetName(), target, err)
			}
		}
	}
	return appender.Commit()
}

func named(metric model.Metric, target map[string]string) labels.Labels {
	all := map[string]string{}
	for name, value := range metric {
		all[string(name)] = string(value)
	}
	maps.Copy(all, target)
	return labels.FromMap(all)
}

// Range asks for the results of a query over a time.
func (r *Recording) Range(ctx context.Context, query string, from, to time.Time, step time.Duration) (promql.Matrix, error) {
	asked, err := r.engine.NewRangeQuery(ctx, r.db, nil, query, from, to, step)
	if err != nil {
		return nil, fmt.Errorf("ask %s: %w", query, err)
	}
	defer asked.Close()
	found, err := asked.Exec(ctx).Matrix()
	if err != nil {
		return nil, fmt.Errorf("ask %s: %w", query, err)
	}
	var kept promql.Matrix
	for _, one := range found { // Close gives the engine back what the results point to
		kept = append(kept, promql.Series{Metric: one.Metric, Floats: slices.Clone(one.Floats)})
	}
	return kept, nil
}
