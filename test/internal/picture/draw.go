package picture

import (
	"context"
	"fmt"
	"html"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/prometheus/promql"
)

// Ask asks for the results of a query over the time of the picture.
type Ask func(ctx context.Context, query string) (promql.Matrix, error)

// Frame is the time that a picture shows.
type Frame struct {
	From, To time.Time
	Interval string // of rates
}

const (
	column = 50 // pixels of the dashboard's
	line   = 30
	margin = 8
	head   = 24 // of a panel's title
	foot   = 34 // of its time and legend
)

// palette is for lines.
var palette = []string{"#56a64b", "#3274d9", "#ff780a", "#e02f44", "#8f3bb8", "#1f9e9e", "#c4a000", "#6e7687"}

// Draw draws panels in their places.
func Draw(ctx context.Context, panels []Panel, frame Frame, ask Ask) ([]byte, error) {
	panels, bottom := pushed(panels)
	var out strings.Builder
	fmt.Fprintf(&out, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="11" fill="#24292e">`+"\n", 24*column, bottom*line)
	fmt.Fprintf(&out, `<rect width="100%%" height="100%%" fill="#f4f5f5"/>`+"\n")
	for _, p := range panels {
		drawn := &drawing{Builder: &out, panel: p, frame: frame,
			x: p.GridPos.X*column + margin/2, y: p.GridPos.Y*line + margin/2, w: p.GridPos.W*column - margin, h: p.GridPos.H*line - margin}
		if err := drawn.draw(ctx, ask); err != nil {
			return nil, fmt.Errorf("draw %q: %w", p.Title, err)
		}
	}
	out.WriteString("</svg>\n")
	return []byte(out.String()), nil
}

// pushed has rows of panels follow each other from the top, and where they end.
func pushed(panels []Panel) ([]Panel, int) {
	out, bottom, off := slices.Clone(panels), 0, 0
	for i := range out {
		if out[i].Type == "row" {
			off = out[i].GridPos.Y - bottom
		}
		out[i].GridPos.Y -= off
		bottom = max(bottom, out[i].GridPos.Y+out[i].GridPos.H)
	}
	return out, bottom
}

// series is a result with its name.
type series struct {
	name, target string
	points       []promql.FPoint
	labels       map[string]string
}

func (s series) last() float64 { return s.points[len(s.points)-1].F }

// drawing is a panel on its way into the picture.
type drawing struct {
	*strings.Builder
	panel      Panel
	frame      Frame
	x, y, w, h int
}

func (d *drawing) draw(ctx context.Context, ask Ask) error {
	if d.panel.Type == "row" {
		d.text(d.x, d.y+16, `font-size="14" font-weight="bold"`, d.panel.Title)
		return nil
	}
	found, err := d.results(ctx, ask)
	if err != nil {
		return err
	}
	d.rect(d.x, d.y, d.w, d.h, "#fff", "")
	d.text(d.x+8, d.y+16, `font-weight="bold"`, d.panel.Title)
	switch {
	case len(found) == 0:
		none := d.panel.FieldConfig.Defaults.NoValue
		if none == "" {
			none = "No data"
		}
		d.text(d.x+d.w/2, d.y+d.h/2+8, `text-anchor="middle" fill="#6e7687"`, none)
	case d.panel.Type == "stat":
		d.numbers(found)
	case d.panel.Type == "state-timeline":
		d.states(found)
	case d.panel.Type == "heatmap":
		d.heat(found)
	case d.panel.Type == "table":
		d.ranking(found)
	default:
		d.lines(found)
	}
	return nil
}

func (d *drawing) results(ctx context.Context, ask Ask) ([]series, error) {
	var all []series
	for _, target := range d.panel.Targets {
		found, err := ask(ctx, target.Query(d.frame.Interval))
		if err != nil {
			return nil, err
		}
		for _, one := range found {
			points := slices.DeleteFunc(one.Floats, func(p promql.FPoint) bool { return math.IsNaN(p.F) })
			current := len(points) > 0 && points[len(points)-1].T >= d.frame.To.Add(-time.Minute).UnixMilli()
			if len(points) == 0 || d.panel.Type == "table" && !current {
				continue
			}
			name := target.LegendFormat
			for label, value := range one.Metric.Map() {
				name = strings.ReplaceAll(name, "{{"+label+"}}", value)
			}
			all = append(all, series{name, target.RefID, points, one.Metric.Map()})
		}
	}
	slices.SortStableFunc(all, func(a, b series) int { return strings.Compare(a.target+a.name, b.target+b.name) })
	return all, nil
}

func (d *drawing) numbers(found []series) {
	width := (d.w - margin) / len(found)
	for i, one := range found {
		text, color := d.panel.word(one.target, one.last())
		d.rect(d.x+margin/2+i*width, d.y+head, width-2, d.h-head-margin/2, color, "")
		d.text(d.x+margin/2+i*width+width/2, d.y+d.h/2+20, `font-size="22" text-anchor="middle" fill="#fff"`, text)
		d.text(d.x+margin/2+i*width+width/2, d.y+head+14, `text-anchor="middle" fill="#fff"`, one.name)
	}
}

// across is where a time is.
func (d *drawing) across(at int64, left int) int {
	whole := d.frame.To.Sub(d.frame.From).Milliseconds()
	return left + int(int64(d.x+d.w-margin-left)*(at-d.frame.From.UnixMilli())/whole)
}

// times stand beneath.
func (d *drawing) times(left int) {
	const marks = 4
	for i := range marks + 1 {
		after := d.frame.To.Sub(d.frame.From) * time.Duration(i) / marks
		anchor := "middle"
		if i == marks {
			anchor = "end"
		}
		d.text(d.across(d.frame.From.Add(after).UnixMilli(), left), d.y+d.h-foot+12, `font-size="9" fill="#6e7687" text-anchor="`+anchor+`"`, after.Round(time.Second).String())
	}
}

func (d *drawing) states(found []series) {
	left := d.x + 150
	each := (d.h - head - foot) / len(found)
	for i, one := range found {
		y := d.y + head + i*each
		d.text(d.x+6, y+each/2+4, `font-size="9"`, short(one.name, 30))
		for from := 0; from < len(one.points); {
			to := from
			for to+1 < len(one.points) && one.points[to+1].F == one.points[from].F {
				to++
			}
			word, color := d.panel.word(one.target, one.points[from].F)
			end := one.points[to].T
			if to+1 < len(one.points) {
				end = one.points[to+1].T
			}
			x, width := d.across(one.points[from].T, left), d.across(end, left)-d.across(one.points[from].T, left)
			d.rect(x, y+2, max(width, 2), each-4, color, "<title>"+html.EscapeString(word)+"</title>")
			if width > 8*len(word) {
				d.text(x+4, y+each/2+4, `fill="#fff"`, word)
			}
			from = to + 1
		}
	}
	d.times(left)
}

func (d *drawing) ranking(found []series) {
	slices.SortStableFunc(found, func(a, b series) int { return int(math.Copysign(1, b.last()-a.last())) })
	for i, one := range found {
		var named []string
		for _, label := range slices.Sorted(func(yield func(string) bool) {
			for name := range one.labels {
				if !yield(name) {
					return
				}
			}
		}) {
			named = append(named, one.labels[label])
		}
		text, color := d.panel.word(one.target, one.last())
		d.text(d.x+10, d.y+head+18+i*18, "", strings.Join(named, "  "))
		d.text(d.x+d.w-12, d.y+head+18+i*18, `text-anchor="end" fill="`+color+`"`, text)
	}
}

func (d *drawing) rect(x, y, w, h int, fill, inside string) {
	fmt.Fprintf(d, `<rect x="%d" y="%d" width="%d" height="%d" rx="2" fill="%s">%s</rect>`+"\n", x, y, w, h, fill, inside)
}

func (d *drawing) text(x, y int, how, text string) {
	if text != "" {
		fmt.Fprintf(d, `<text x="%d" y="%d" %s>%s</text>`+"\n", x, y, how, html.EscapeString(text))
	}
}

func short(text string, most int) string {
	if len(text) <= most {
		return text
	}
	return "…" + text[len(text)-most:]
}

func number(text string) float64 {
	value, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return math.Inf(1)
	}
	return value
}
