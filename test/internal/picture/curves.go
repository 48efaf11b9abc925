package picture

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/prometheus/prometheus/promql"
)

// axis is room left of curves, for what they reach.
const axis = 62

func (d *drawing) lines(found []series) {
	stacked := d.panel.FieldConfig.Defaults.Custom.Stacking.Mode == "normal"
	below, highest := map[int64]float64{}, 0.0
	for _, one := range found {
		for i, point := range one.points {
			if stacked {
				below[point.T] += point.F
				one.points[i].F = below[point.T]
			}
			highest = max(highest, one.points[i].F)
		}
	}
	highest = cmpOr(highest, 1)
	left, bottom := d.x+axis, d.y+d.h-foot
	up := func(value float64) int { return bottom - int(float64(d.h-head-foot)*value/highest) }
	for _, share := range []float64{0, .5, 1} {
		fmt.Fprintf(d, `<path d="M%d %dH%d" stroke="#dde4ed"/>`+"\n", left, up(share*highest), d.x+d.w-margin)
		d.text(left-4, up(share*highest)+4, `font-size="9" fill="#6e7687" text-anchor="end"`, amount(share*highest, d.panel.FieldConfig.Defaults.Unit))
	}
	for i, one := range slices.Backward(found) { // what is lowest of a stack is in front
		color := palette[i%len(palette)]
		for _, part := range parts(one.points) {
			var path strings.Builder
			for _, point := range part {
				fmt.Fprintf(&path, "%d,%d ", d.across(point.T, left), up(point.F))
			}
			if stacked {
				first, last := d.across(part[0].T, left), d.across(part[len(part)-1].T, left)
				fmt.Fprintf(d, `<polygon points="%d,%d %s%d,%d" fill="%s"/>`+"\n", first, bottom, path.String(), last, bottom, color)
				continue
			}
			fmt.Fprintf(d, `<polyline points="%s" fill="none" stroke="%s" stroke-width="1.5"/>`+"\n", path.String(), color)
		}
	}
	d.times(left)
	d.legend(found)
}

// parts of a line are without a gap: the shortest time between two points is that between all of a part.
func parts(points []promql.FPoint) [][]promql.FPoint {
	step := int64(math.MaxInt64)
	for i := 1; i < len(points); i++ {
		step = min(step, points[i].T-points[i-1].T)
	}
	var all [][]promql.FPoint
	from := 0
	for i := 1; i <= len(points); i++ {
		if i == len(points) || points[i].T-points[i-1].T > step {
			all, from = append(all, points[from:i]), i
		}
	}
	return all
}

func cmpOr(value, otherwise float64) float64 {
	if value == 0 {
		return otherwise
	}
	return value
}

func (d *drawing) legend(found []series) {
	x := d.x + margin
	for i, one := range found {
		name := short(one.name, max((d.w-margin)/(6*len(found))-4, 6))
		if x+6*len(name) > d.x+d.w {
			d.text(x, d.y+d.h-6, "", "…")
			return
		}
		d.rect(x, d.y+d.h-14, 8, 8, palette[i%len(palette)], "")
		d.text(x+11, d.y+d.h-6, `font-size="10"`, name)
		x += 22 + 6*len(name)
	}
}

// heat has a cell for each bucket and time, the darker the more.
func (d *drawing) heat(found []series) {
	slices.SortFunc(found, func(a, b series) int { return int(math.Copysign(1, number(a.name)-number(b.name))) })
	rows, most := cells(found)
	left := d.x + axis
	each := float64(d.h-head-foot) / float64(len(found))
	for i, row := range rows {
		bottom := d.y + d.h - foot - int(float64(i)*each)
		topmost := d.y + d.h - foot - int(float64(i+1)*each)
		if i%2 == 0 {
			bound := found[i].name
			if !math.IsInf(number(bound), 1) {
				bound = amount(number(bound), "s")
			}
			d.text(left-4, topmost+8, `font-size="9" fill="#6e7687" text-anchor="end"`, bound)
		}
		times := slices.Sorted(maps.Keys(row))
		for n, at := range times {
			width := 4
			if n+1 < len(times) {
				width = d.across(times[n+1], left) - d.across(at, left)
			}
			if row[at] > 0 {
				fmt.Fprintf(d, `<rect x="%d" y="%d" width="%d" height="%d" fill="#1f60c4" fill-opacity="%.2f"/>`+"\n",
					d.across(at, left), topmost, max(width, 2), bottom-topmost-1, .15+.85*math.Sqrt(row[at]/most))
			}
		}
	}
	d.times(left)
}

// cells are the counts in each bucket alone, by time. Prometheus' buckets have all that is less.
func cells(buckets []series) ([]map[int64]float64, float64) {
	below, most := map[int64]float64{}, 0.0
	var all []map[int64]float64
	for _, bucket := range buckets {
		row := map[int64]float64{}
		for _, point := range bucket.points {
			row[point.T] = max(point.F-below[point.T], 0)
			if row[point.T] < 1e-9 {
				row[point.T] = 0
			}
			below[point.T] = point.F
			most = max(most, row[point.T])
		}
		all = append(all, row)
	}
	return all, cmpOr(most, 1)
}
