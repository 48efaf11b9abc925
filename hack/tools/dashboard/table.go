package main

// kind is how Grafana shows a panel.
type kind int

const (
	number   kind = iota // the latest value of each query, large
	timeline             // states over time, a bar for each series
	lines                // a line for each series
	areas                // the same, stacked
	heat                 // a histogram over time
	ranking              // a table of the largest now
)

// section is a row of the dashboard. Its panels fill lines of 24 columns.
type section struct {
	title  string
	panels []panel
}

// panel is a place of the dashboard, and the only place that knows it.
type panel struct {
	kind    kind
	title   string
	help    string
	width   int // columns, of 24
	height  int
	unit    string // Grafana's name of it
	queries []query
	steps   []step
	words   []word // in place of the numbers of any query
	none    string // where there is no data
	runbook string // the alert that is about the same
}

// query is what a panel asks Prometheus.
type query struct {
	expr   string
	legend string
	words  []word // in place of its numbers
}

// step is a colour from a value on.
type step struct {
	from  float64
	color string
}

// word is what stands, and in which colour, for a number.
type word struct {
	number      int
	text, color string
}

// Colours never stand alone: there is a number or a word beside each.
const (
	good    = "green"
	warning = "orange"
	bad     = "red"
	moving  = "blue"
	unknown = "text"
)

// What panels are about: all drivers, or those that are chosen above. Node plugins have the labels driver, node_class and node
// from the scrape. "All" is chosen as .*, which finds metrics without them, too, and stays short with thousands of nodes.
const (
	driver   = `driver=~"$driver"`
	classes  = driver + `,class=~"$class"`
	ofClass  = driver + `,node_class=~"$class"`
	nodes    = ofClass + `,node=~"$node"`
	manager  = `job="image-csi-operator-metrics"`
	notOurs  = "The operator is not scraped"
	others   = `OK|Aborted|AlreadyExists|Canceled|DeadlineExceeded|InvalidArgument|NotFound|PermissionDenied|Unauthenticated`
	pulls    = `OK|NotFound|NotPresent|Denied|NotYours|Unproven|OtherNodes|Unsupported|TooLarge|Untrusted|StillPulling|Abandoned`
	publish  = `method="NodePublishVolume"`
	interval = "[$__rate_interval]"
	recently = "[10m]" // the alerts' own
)

// largest is how many nodes a panel names of thousands.
const largest = "10"

// anyone is zero as soon as a node plugin is scraped, so that a count of nothing is 0 and not "no data".
const anyone = ` or 0 * count(imagecsi_pulls_in_flight{` + nodes + `})`

var (
	zeroIsGood = []step{{0, good}, {1, bad}}
	zeroIsFine = []step{{0, good}, {1, warning}}
	neutral    = []step{{0, moving}}
)

var sections = []section{
	{"At a glance", glance},
	{"Drivers", drivers},
	{"Mounts", mounts},
	{"Pulls", pulling},
	{"What nodes keep", kept},
	{"Node plugins", plugins},
	{"The operator", operator},
}
