package main

import (
	"fmt"
	"strings"

	"github.com/grafana/grafana-foundation-sdk/go/cog/variants"
	"github.com/grafana/grafana-foundation-sdk/go/common"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/heatmap"
	"github.com/grafana/grafana-foundation-sdk/go/prometheus"
	"github.com/grafana/grafana-foundation-sdk/go/stat"
	"github.com/grafana/grafana-foundation-sdk/go/statetimeline"
	"github.com/grafana/grafana-foundation-sdk/go/table"
	"github.com/grafana/grafana-foundation-sdk/go/timeseries"
)

const (
	docs     = "https://github.com/image-csi/image-csi-operator/blob/main/docs/"
	runbooks = docs + "runbooks.md#"
	columns  = 24

	// schema is that of Grafana 10.4. Newer ones read it.
	schema = 39
)

func to[T any](value T) *T { return &value }

// source is the data source that is chosen above the panels.
var source = &common.DataSourceRef{Type: to("prometheus"), Uid: to("${datasource}")}

// board is the dashboard of some sections, from top to bottom, in the form that Grafana's sidecar and its import read. The one that
// the library prefers is for Grafana's own API server.
func board(sections []section) dashboard.Dashboard { //nolint:staticcheck // see above
	out := *dashboard.NewDashboard()
	out.Uid, out.Title, out.Tags = to("image-csi-operator"), to("Image CSI"), []string{"kubernetes", "storage"}
	out.Description = to("Drivers, node plugins and the operator of image-csi-operator.")
	out.Timezone, out.Refresh, out.GraphTooltip = to("browser"), to("1m"), to(dashboard.DashboardCursorSyncCrosshair)
	out.Time, out.SchemaVersion = dashboard.NewDashboardDashboardTime(), schema
	out.Templating.List = variables()
	out.Links = []dashboard.DashboardLink{link("Runbooks", docs+"runbooks.md"), link("Troubleshooting", docs+"troubleshooting.md"), link("Metrics", docs+"metrics.md")}
	id, top := uint32(0), uint32(0)
	for _, section := range sections {
		id++
		row := dashboard.NewRowPanel()
		row.Id, row.Title, row.GridPos = id, to(section.title), &dashboard.GridPos{H: 1, W: columns, Y: top}
		out.Panels = append(out.Panels, dashboard.PanelOrRowPanel{RowPanel: row})
		top++
		left, height := 0, 0
		for _, p := range section.panels {
			if left+p.width > columns {
				left, top = 0, top+uint32(height)
			}
			id++
			placed := p.grafana()
			placed.Id, placed.GridPos = to(id), &dashboard.GridPos{H: uint32(p.height), W: uint32(p.width), X: uint32(left), Y: top}
			out.Panels = append(out.Panels, dashboard.PanelOrRowPanel{Panel: &placed})
			left, height = left+p.width, p.height
		}
		top += uint32(height)
	}
	return out
}

func variables() []dashboard.VariableModel {
	return []dashboard.VariableModel{
		{Type: dashboard.VariableTypeDatasource, Name: "datasource", Label: to("Data source"), Query: &dashboard.StringOrMap{String: to("prometheus")}},
		// Of the operator or of node plugins, whichever is scraped.
		variable("driver", "Driver", `label_values({__name__=~"imagecsi_driver_nodes|imagecsi_pulls_in_flight"}, driver)`),
		variable("class", "Node class", `label_values(imagecsi_pulls_in_flight{`+driver+`}, node_class)`),
		variable("node", "Node", `label_values(imagecsi_pulls_in_flight{`+ofClass+`}, node)`),
	}
}

func variable(name, label, definition string) dashboard.VariableModel {
	all := dashboard.VariableOption{Text: dashboard.StringOrArrayOfString{String: to("All")}, Value: dashboard.StringOrArrayOfString{String: to("$__all")}}
	return dashboard.VariableModel{
		Type: dashboard.VariableTypeQuery, Name: name, Label: to(label), Datasource: source, Definition: to(definition),
		Query: &dashboard.StringOrMap{Map: map[string]any{"query": definition, "refId": name}},
		Multi: to(true), IncludeAll: to(true), AllValue: to(".*"), Current: &all,
		Refresh: to(dashboard.VariableRefreshOnTimeRangeChanged), Sort: to(dashboard.VariableSortNaturalAsc),
	}
}

func link(title, url string) dashboard.DashboardLink {
	return dashboard.DashboardLink{Title: title, Type: dashboard.DashboardLinkTypeLink, Icon: "doc", Tags: []string{}, Url: to(url), TargetBlank: true}
}

// types are Grafana's names of the kinds.
var types = map[kind]string{
	number: "stat", timeline: "state-timeline", lines: "timeseries", areas: "timeseries", heat: "heatmap", ranking: "table",
}

// grafana is a panel without its place.
func (p panel) grafana() dashboard.Panel {
	out := dashboard.Panel{Type: types[p.kind], Title: to(p.title), Description: to(p.help), Datasource: source, FieldConfig: dashboard.NewFieldConfigSource()}
	for i, query := range p.queries {
		id := string(rune('A' + i))
		out.Targets = append(out.Targets, p.target(id, query))
		if len(query.words) > 0 {
			out.FieldConfig.Overrides = append(out.FieldConfig.Overrides, dashboard.DashboardFieldConfigSourceOverrides{
				Matcher:    dashboard.MatcherConfig{Id: "byFrameRefID", Options: id},
				Properties: []dashboard.DynamicConfigValue{{Id: "mappings", Value: mappings(query.words)}},
			})
		}
	}
	if p.runbook != "" {
		out.Links = []dashboard.DashboardLink{link("Runbook: "+p.runbook, runbooks+strings.ToLower(p.runbook))}
	}
	defaults := &out.FieldConfig.Defaults
	defaults.Unit, defaults.Color, defaults.Mappings, defaults.Thresholds = to(p.unit), p.color(), mappings(p.words), thresholds(p.steps)
	if p.none != "" {
		defaults.NoValue = to(p.none)
	}
	switch p.kind {
	case number:
		out.Options = numbers(len(p.queries) > 1)
	case timeline:
		out.Options = states()
		defaults.Custom = statetimeline.FieldConfig{FillOpacity: to(uint32(80)), LineWidth: to(uint32(0))}
	case lines, areas:
		defaults.Min = to(0.0)
		defaults.Custom = curves(p.kind == areas)
		out.Options = timeseries.Options{Legend: legend(), Tooltip: tooltip()}
	case heat:
		options := heatmap.NewOptions()
		options.Color.Mode, options.Color.Scheme = to(heatmap.HeatmapColorModeScheme), "Blues"
		options.YAxis.Unit, options.CellValues = to(p.unit), &heatmap.CellValues{Unit: to("short")}
		out.Options = *options
	case ranking:
		ranked(p, &out)
	}
	return out
}

func (p panel) target(id string, query query) variants.Dataquery {
	out := &prometheus.Dataquery{RefId: to(id), Datasource: source, Expr: query.expr, EditorMode: to(prometheus.QueryEditorModeCode)}
	switch p.kind {
	case ranking:
		out.Instant, out.Format = to(true), to(prometheus.PromQueryFormatTable)
	case heat:
		out.Range, out.Format = to(true), to(prometheus.PromQueryFormatHeatmap)
	default:
		out.Range = to(true)
	}
	if query.legend != "" {
		out.LegendFormat = to(query.legend)
	}
	return *out
}

// ranked makes a table whose largest value is on top, with labels for columns.
func ranked(p panel, out *dashboard.Panel) {
	out.Options = table.Options{ShowHeader: true, SortBy: []common.TableSortByFieldState{{DisplayName: p.unitName(), Desc: to(true)}}}
	out.Transformations = []dashboard.DataTransformerConfig{{Id: "organize", Options: map[string]any{
		"excludeByName": map[string]bool{"Time": true}, "renameByName": map[string]string{"Value": p.unitName()},
	}}}
	out.FieldConfig.Overrides = append(out.FieldConfig.Overrides, dashboard.DashboardFieldConfigSourceOverrides{
		Matcher:    dashboard.MatcherConfig{Id: "byName", Options: p.unitName()},
		Properties: []dashboard.DynamicConfigValue{{Id: "custom.cellOptions", Value: map[string]string{"type": "color-text"}}},
	})
}

// unitName is the heading of a table's values.
func (p panel) unitName() string {
	switch p.unit {
	case "bytes":
		return "memory"
	case "ops":
		return "failures a second"
	case "none":
		return "state"
	}
	return "number"
}

// color of lines is by their names, so that it stays when others come; that of states and numbers is by what they mean.
func (p panel) color() *dashboard.FieldColor {
	if p.kind == lines || p.kind == areas {
		return &dashboard.FieldColor{Mode: dashboard.FieldColorModeIdPaletteClassicByName}
	}
	return &dashboard.FieldColor{Mode: dashboard.FieldColorModeIdThresholds}
}

func mappings(words []word) []dashboard.ValueMapping {
	if len(words) == 0 {
		return nil
	}
	all := dashboard.NewValueMap()
	for i, word := range words {
		all.Options[fmt.Sprint(word.number)] = dashboard.ValueMappingResult{Text: to(word.text), Color: to(word.color), Index: to(int32(i))}
	}
	return []dashboard.ValueMapping{{ValueMap: all}}
}

// thresholds begin below every number.
func thresholds(steps []step) *dashboard.ThresholdsConfig {
	out := &dashboard.ThresholdsConfig{Mode: dashboard.ThresholdsModeAbsolute, Steps: []dashboard.Threshold{{Color: unknown}}}
	for i, step := range steps {
		if i == 0 {
			out.Steps[0].Color = step.color
			continue
		}
		out.Steps = append(out.Steps, dashboard.Threshold{Value: to(step.from), Color: step.color})
	}
	return out
}

func numbers(named bool) stat.Options {
	out := *stat.NewOptions()
	out.ReduceOptions.Calcs, out.ColorMode, out.Orientation = []string{"lastNotNull"}, common.BigValueColorModeBackground, common.VizOrientationAuto
	if named {
		out.TextMode = common.BigValueTextModeValueAndName
	}
	return out
}

func states() statetimeline.Options {
	out := *statetimeline.NewOptions()
	out.ShowValue, out.Legend, out.Tooltip = common.VisibilityModeAuto, legend(), tooltip()
	out.Legend.ShowLegend = false // the words stand in the bars
	return out
}

func curves(stacked bool) common.GraphFieldConfig {
	out := common.GraphFieldConfig{LineWidth: to(1.0), FillOpacity: to(10.0), ShowPoints: to(common.VisibilityModeNever)}
	if stacked {
		out.FillOpacity, out.Stacking = to(60.0), &common.StackingConfig{Mode: to(common.StackingModeNormal)}
	}
	return out
}

func legend() common.VizLegendOptions {
	return common.VizLegendOptions{DisplayMode: common.LegendDisplayModeList, Placement: common.LegendPlacementBottom, ShowLegend: true, Calcs: []string{}}
}

func tooltip() common.VizTooltipOptions {
	return common.VizTooltipOptions{Mode: common.TooltipDisplayModeMulti, Sort: common.SortOrderDescending}
}
