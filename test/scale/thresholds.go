package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

// threshold is one promise to those who run large clusters.
type threshold struct {
	what string
	// of is the figure, most what it may be.
	of   func(figures) float64
	most float64
}

// thresholds hold the largest cluster. README.md has the figures that they come from.
func thresholds() []threshold {
	return []threshold{
		{"writes from the driver's creation to a settled status, besides one for each node",
			func(f figures) float64 { return f.install.writes - float64(f.nodes) }, 20},
		{"writes a second while node plugins start", func(f figures) float64 { return f.serve.writes / f.serveTime.Seconds() }, 1.5},
		{"bytes of live heap for each node", func(f figures) float64 { return f.heapPerNode }, 3 << 10},
		{"reconciles for heartbeats", func(f figures) float64 { return f.quiet.reconciles }, 0},
		{"writes for heartbeats", func(f figures) float64 { return f.quiet.writes }, 0},
		{"percent of a core for heartbeats", quietCPU, 3.5},
		{"writes of a new operator", func(f figures) float64 { return f.restart.writes }, 0},
	}
}

// quietCPU is the share of a core, in percent.
func quietCPU(f figures) float64 { return 100 * f.quiet.cpu / f.quietTime.Seconds() }

// growths must not be: what they may be at the largest size, as a multiple of the smallest and some room for chance.
func growths() []growth {
	return append([]growth{
		{"reconciles for a node added", func(f figures) float64 { return f.added.reconciles }, 1, 1},
		{"reconciles for a node changed", func(f figures) float64 { return f.changed.reconciles }, 1, 1},
		{"reconciles for a node removed", func(f figures) float64 { return f.removed.reconciles }, 1, 1},
		{"writes for a node added", func(f figures) float64 { return f.added.writes }, 1, 1},
		{"writes for a node changed", func(f figures) float64 { return f.changed.writes }, 1, 1},
		{"writes for a node removed", func(f figures) float64 { return f.removed.writes }, 1, 1},
	}, cpuGrowths()...)
}

// cpuGrowths are those that are plotted, too.
func cpuGrowths() []growth {
	return []growth{
		{"ms of CPU for a node added", func(f figures) float64 { return 1000 * f.added.cpu }, 1.5, 5},
		{"ms of CPU for a node changed", func(f figures) float64 { return 1000 * f.changed.cpu }, 1.5, 5},
		{"ms of CPU for a node removed", func(f figures) float64 { return 1000 * f.removed.cpu }, 1.5, 5},
	}
}

// growth is a figure that is to be the same for every size of cluster.
type growth struct {
	what          string
	of            func(figures) float64
	times, chance float64
}

// judge prints all figures, and fails if one is too large.
func judge(out io.Writer, all []figures) error {
	missed := 0
	verdict := func(ok bool) string {
		if ok {
			return "ok"
		}
		missed++
		return "MISSED"
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	row := func(cells ...any) {
		for _, cell := range cells {
			fmt.Fprintf(w, "%v\t", cell)
		}
		fmt.Fprintln(w)
	}
	line := func(what string, of func(figures) float64, limit, verdict any) {
		cells := []any{what}
		for _, f := range all {
			cells = append(cells, fmt.Sprintf("%.4g", of(f)))
		}
		row(append(cells, limit, verdict)...)
	}
	line("nodes", func(f figures) float64 { return float64(f.nodes) }, "at most", "")
	first, last := all[0], all[len(all)-1]
	for _, t := range thresholds() {
		line(t.what, t.of, t.most, verdict(t.of(last) <= t.most))
	}
	for _, g := range growths() {
		most := g.of(first)*g.times + g.chance
		line(g.what, g.of, fmt.Sprintf("%.4g", most), verdict(g.of(last) <= most))
	}
	for _, t := range told() {
		line(t.what, t.of, "", "")
	}
	if err := w.Flush(); err != nil {
		return err
	}
	plot(out, all)
	if missed > 0 {
		return fmt.Errorf("%d figures are beyond their threshold", missed)
	}
	return nil
}

// plot shows how the work for one node goes with the size of the cluster.
func plot(out io.Writer, all []figures) {
	const columns = 60
	for _, g := range cpuGrowths() {
		widest := g.chance
		for _, f := range all {
			widest = max(widest, g.of(f))
		}
		fmt.Fprintf(out, "\n%s\n", g.what)
		for _, f := range all {
			bar := strings.Repeat("#", int(columns*g.of(f)/widest))
			fmt.Fprintf(out, "%7d nodes %7.3g  %s\n", f.nodes, g.of(f), bar)
		}
	}
}

// told are figures without a threshold: they depend on the machine and on the API server.
func told() []threshold {
	return []threshold{
		{what: "seconds from the driver's creation to a settled status", of: func(f figures) float64 { return f.installTime.Seconds() }},
		{what: "seconds of CPU for that", of: func(f figures) float64 { return f.install.cpu }},
		{what: "seconds in which the node plugins started", of: func(f figures) float64 { return f.serveTime.Seconds() }},
		{what: "seconds of CPU for that", of: func(f figures) float64 { return f.serve.cpu }},
		{what: "MiB of resident memory at most", of: func(f figures) float64 { return f.peak / (1 << 20) }},
		{what: "heartbeats a second", of: func(f figures) float64 { return float64(f.beats) / f.quietTime.Seconds() }},
		{what: "seconds until a new operator has seen it all", of: func(f figures) float64 { return f.restartTime.Seconds() }},
		{what: "seconds of CPU for that", of: func(f figures) float64 { return f.restart.cpu }},
	}
}
