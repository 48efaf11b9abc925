package bench

import (
	"slices"
	"time"
)

// samples are the durations of one operation, of all rounds.
type samples []time.Duration

// time runs an operation and notes how long it took.
func (s *samples) time(operation func() error) error {
	started := time.Now()
	err := operation()
	*s = append(*s, time.Since(started))
	return err
}

func (s samples) median() time.Duration {
	sorted := slices.Sorted(slices.Values(s))
	return sorted[len(sorted)/2]
}

func ratio(one, other time.Duration) float64 { return float64(one) / float64(other) }

// micros rounds for people.
func micros(d time.Duration) time.Duration { return d.Round(time.Microsecond) }
