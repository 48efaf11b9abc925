package main

var glance = []panel{
	{kind: number, title: "Nodes ready", width: 4, height: 4, unit: "percentunit", none: notOurs, runbook: "ImageCSIDriverUnavailable",
		help: "Nodes whose kubelet has registered the driver, of those that should serve it.",
		queries: []query{{expr: `sum(max by (driver) (imagecsi_driver_nodes{` + driver + `,state="ready"})) / (sum(max by (driver) (imagecsi_driver_nodes{` +
			driver + `,state="eligible"})) > 0)`}},
		steps: []step{{0, bad}, {.9, warning}, {1, good}}},
	{kind: number, title: "Nodes not ready", width: 4, height: 4, unit: "short", none: notOurs, runbook: "ImageCSIDriverUnavailable",
		help: "Nodes that should serve the driver and do not. Pods with image volumes do not start there.",
		queries: []query{{expr: `sum(max by (driver) (imagecsi_driver_nodes{` + driver + `,state="eligible"})) - sum(max by (driver) (imagecsi_driver_nodes{` +
			driver + `,state="ready"}))`}},
		steps: zeroIsGood},
	{kind: number, title: "Drivers degraded", width: 4, height: 4, unit: "short", none: notOurs, runbook: "ImageCSIDriverDegraded",
		help:    "Drivers with a problem that needs action. The condition Degraded of the ImageCSIDriver says what and where.",
		queries: []query{{expr: `sum(max by (driver) (imagecsi_driver_condition{` + driver + `,condition="Degraded",status="True"}))`}},
		steps:   zeroIsGood},
	{kind: number, title: "Rollouts failed", width: 4, height: 4, unit: "short", none: notOurs, runbook: "ImageCSIRolloutFailed",
		help: "Drivers whose latest change was rolled back, or is being rolled back.",
		queries: []query{{expr: `sum(max by (driver) (imagecsi_driver_rollout{` + driver + `,phase=~"RollingBack|RolledBack"})) or 0 * count(imagecsi_driver_rollout{` +
			driver + `})`}},
		steps: zeroIsGood},
	{kind: number, title: "Nodes unsupported", width: 4, height: 4, unit: "short", none: notOurs,
		help:    "Nodes that cannot serve the driver, as those with Docker or Windows. status.unsupported has the reasons.",
		queries: []query{{expr: `sum(max by (driver) (imagecsi_driver_nodes{` + driver + `,state="unsupported"}))`}},
		steps:   zeroIsFine},
	{kind: number, title: "Operator", width: 4, height: 4, unit: "none", none: notOurs, runbook: "ImageCSIOperatorAbsent",
		help:    "Whether a replica of the operator leads. Without one volumes keep working, but new nodes get no driver.",
		queries: []query{{expr: `max(leader_election_master_status{name="image-csi-operator"})`}},
		words:   []word{{0, "No leader", bad}, {1, "Leads", good}}},
	{kind: number, title: "Node plugins", width: 4, height: 4, unit: "short", none: "No node plugin is scraped",
		help:    "Node plugins that answer Prometheus.",
		queries: []query{{expr: `count(imagecsi_pulls_in_flight{` + nodes + `})`}}, steps: neutral},
	{kind: number, title: "Nodes that fail to mount", width: 4, height: 4, unit: "short", runbook: "ImageCSIPublishFailing",
		help: "Nodes that failed to mount volumes in the last 10 minutes for a reason of the node. Errors of a pod's author do not count.",
		queries: []query{{expr: `count(sum by (node) (rate(imagecsi_operations_total{` + nodes + `,` + publish + `,code!~"` + others + `"}` + recently +
			`)) > 0)` + anyone}},
		steps: zeroIsGood},
	{kind: number, title: "Nodes that fail to pull", width: 4, height: 4, unit: "short", runbook: "ImageCSIPullsFailing",
		help: "Nodes whose pulls failed in the last 10 minutes for a reason that no pod's author can cure.",
		queries: []query{{expr: `count(sum by (node) (rate(imagecsi_pulls_total{` + nodes + `,result!~"` + pulls + `"}` + recently + `)) > 0)` +
			anyone}},
		steps: zeroIsGood},
	{kind: number, title: "Pulling", width: 4, height: 4, unit: "short",
		help: "Images that nodes pull now, and those that wait for their turn.",
		queries: []query{
			{expr: `sum(imagecsi_pulls_in_flight{` + nodes + `}) - sum(imagecsi_pulls_waiting{` + nodes + `})`, legend: "pulling"},
			{expr: `sum(imagecsi_pulls_waiting{` + nodes + `})`, legend: "waiting"},
		}, steps: neutral},
	{kind: number, title: "Volumes", width: 4, height: 4, unit: "short",
		help:    "Image volumes that are mounted now.",
		queries: []query{{expr: `sum(imagecsi_volumes{` + nodes + `})`}}, steps: neutral},
	{kind: number, title: "Left over or at risk", width: 4, height: 4, unit: "short", runbook: "ImageCSIOrphansFound",
		help: "Orphans, which belong to no pod and could not be removed, and volumes whose image nothing keeps from garbage collection.",
		queries: []query{
			{expr: `sum(imagecsi_orphans{` + nodes + `})`, legend: "orphans"},
			{expr: `sum(imagecsi_mounted_without_pin{` + nodes + `})`, legend: "without a pin"},
		}, steps: zeroIsFine},
	{kind: ranking, title: "Alerts that fire", width: 24, height: 6, unit: "none", none: "No alert fires",
		help:    "Alerts of the drivers and of the operator. The runbooks have the meaning and the remedy of each.",
		queries: []query{{expr: `max by (alertname, node, severity) (ALERTS{alertname=~"ImageCSI.*",alertstate="firing"})`}},
		words:   []word{{1, "fires", bad}}},
}

// state asks for one condition: 1 is True, 2 is Unknown.
func state(condition string, words ...word) query {
	of := `imagecsi_driver_condition{` + driver + `,condition="` + condition + `",status=`
	return query{expr: `max by (driver) (` + of + `"True"}) + 2 * max by (driver) (` + of + `"Unknown"})`, legend: "{{driver}} " + condition,
		words: append(words, word{2, "Unknown", unknown})}
}

var drivers = []panel{
	{kind: timeline, title: "Conditions", width: 12, height: 8, unit: "none", none: notOurs, runbook: "ImageCSIDriverDegraded",
		help: "The conditions of the ImageCSIDriver. Available should be True, Degraded False; Progressing is True while a change is under way.",
		queries: []query{
			state("Available", word{0, "False", bad}, word{1, "True", good}),
			state("Degraded", word{0, "False", good}, word{1, "True", bad}),
			state("Progressing", word{0, "False", good}, word{1, "True", moving}),
		}},
	{kind: timeline, title: "Rollout", width: 12, height: 8, unit: "none", none: notOurs, runbook: "ImageCSIRolloutFailed",
		help: "The phase of the latest change of the node plugins.",
		queries: []query{{expr: `max by (driver) (imagecsi_driver_rollout{` + driver + `,phase="Complete"}` +
			` or 2 * imagecsi_driver_rollout{` + driver + `,phase="Canary"}` +
			` or 3 * imagecsi_driver_rollout{` + driver + `,phase="Updating"}` +
			` or 4 * imagecsi_driver_rollout{` + driver + `,phase="Paused"}` +
			` or 5 * imagecsi_driver_rollout{` + driver + `,phase="RollingBack"}` +
			` or 6 * imagecsi_driver_rollout{` + driver + `,phase="RolledBack"})`, legend: "{{driver}}"}},
		words: []word{{1, "Complete", good}, {2, "Canary", moving}, {3, "Updating", moving}, {4, "Paused", warning}, {5, "RollingBack", bad}, {6, "RolledBack", bad}}},
	{kind: lines, title: "Nodes", width: 8, height: 8, unit: "short", none: notOurs,
		help:    "status.nodes of the ImageCSIDriver.",
		queries: []query{{expr: `max by (driver, state) (imagecsi_driver_nodes{` + driver + `})`, legend: "{{driver}} {{state}}"}}},
	{kind: lines, title: "Nodes ready, by class", width: 8, height: 8, unit: "percentunit", none: notOurs, runbook: "ImageCSIDriverUnavailable",
		help: "Nodes whose kubelet has registered the driver, of all of the class.",
		queries: []query{{expr: `max by (driver, class) (imagecsi_driver_class_nodes{` + classes + `,state="ready"}) / (max by (driver, class) (imagecsi_driver_class_nodes{` +
			classes + `,state="total"}) > 0)`, legend: "{{driver}} {{class}}"}}},
	{kind: lines, title: "Nodes updated, by class", width: 8, height: 8, unit: "percentunit", none: notOurs,
		help: "Nodes that run the node plugin that the driver asks for, of all of the class.",
		queries: []query{{expr: `max by (driver, class) (imagecsi_driver_class_nodes{` + classes + `,state="updated"}) / (max by (driver, class) (imagecsi_driver_class_nodes{` +
			classes + `,state="total"}) > 0)`, legend: "{{driver}} {{class}}"}}},
}

// quantiles of a histogram.
func quantiles(histogram, selector string) []query {
	var all []query
	for _, q := range []struct{ value, legend string }{{"0.5", "median"}, {"0.99", "99 %"}} {
		all = append(all, query{expr: `histogram_quantile(` + q.value + `, sum by (le) (rate(` + histogram + `{` + selector + `}` + interval + `)))`, legend: q.legend})
	}
	return all
}

// distribution of a histogram over time.
func distribution(histogram, selector string) []query {
	return []query{{expr: `sum by (le) (increase(` + histogram + `{` + selector + `}` + interval + `))`, legend: "{{le}}"}}
}

// top are the nodes with most of something now, and nothing else of a node.
func top(of, by string) string {
	return `topk(` + largest + `, sum by (` + by + `) (` + of + `) > 0)`
}

var mounts = []panel{
	{kind: areas, title: "Publishes", width: 8, height: 8, unit: "ops", runbook: "ImageCSIPublishFailing",
		help:    "CSI calls that mount a volume, by answer. Aborted means that a pull goes on: the kubelet asks again.",
		queries: []query{{expr: `sum by (code) (rate(imagecsi_operations_total{` + nodes + `,` + publish + `}` + interval + `))`, legend: "{{code}}"}}},
	{kind: heat, title: "Time of a publish", width: 8, height: 8, unit: "s",
		help:    "Publishes that succeeded, by the time that they took. A pull is a part of it.",
		queries: distribution("imagecsi_operation_duration_seconds_bucket", nodes+`,`+publish+`,code="OK"`)},
	{kind: lines, title: "Time of a publish, median and slowest", width: 8, height: 8, unit: "s",
		help:    "Of publishes that succeeded. A pull is a part of it.",
		queries: quantiles("imagecsi_operation_duration_seconds_bucket", nodes+`,`+publish+`,code="OK"`)},
	{kind: ranking, title: "Nodes that fail to mount most", width: 12, height: 8, unit: "ops", none: "None fails", runbook: "ImageCSIPublishFailing",
		help:    "The ten nodes with most publishes that failed for a reason of the node, in the last 10 minutes, and the answer.",
		queries: []query{{expr: top(`rate(imagecsi_operations_total{`+nodes+`,`+publish+`,code!~"`+others+`"}`+recently+`)`, "node, code")}},
		steps:   []step{{0, bad}}},
	{kind: lines, title: "Other calls that failed", width: 12, height: 8, unit: "ops", none: "None fails",
		help:    "By method and answer.",
		queries: []query{{expr: `sum by (method, code) (rate(imagecsi_operations_total{` + nodes + `,method!="NodePublishVolume",code!="OK"}` + interval + `))`, legend: "{{method}} {{code}}"}}},
}

var pulling = []panel{
	{kind: areas, title: "Pulls", width: 8, height: 8, unit: "ops", runbook: "ImageCSIPullsFailing",
		help:    "Pulls that ended, by result.",
		queries: []query{{expr: `sum by (result) (rate(imagecsi_pulls_total{` + nodes + `}` + interval + `))`, legend: "{{result}}"}}},
	{kind: heat, title: "Time of a pull", width: 8, height: 8, unit: "s",
		help:    "Pulls that succeeded, by the time that they took, with the wait for their turn.",
		queries: distribution("imagecsi_pull_duration_seconds_bucket", nodes+`,result="OK"`)},
	{kind: lines, title: "Time of a pull, median and slowest", width: 8, height: 8, unit: "s",
		help:    "Of pulls that succeeded, with the wait for their turn.",
		queries: quantiles("imagecsi_pull_duration_seconds_bucket", nodes+`,result="OK"`)},
	{kind: lines, title: "Pulling and waiting", width: 8, height: 8, unit: "short",
		help: "All nodes together.",
		queries: []query{
			{expr: `sum(imagecsi_pulls_in_flight{` + nodes + `}) - sum(imagecsi_pulls_waiting{` + nodes + `})`, legend: "pulling"},
			{expr: `sum(imagecsi_pulls_waiting{` + nodes + `})`, legend: "waiting"},
		}},
	{kind: lines, title: "Bytes pulled", width: 8, height: 8, unit: "Bps",
		help:    "Size of the images that pulls brought to the nodes.",
		queries: []query{{expr: `sum(rate(imagecsi_pull_bytes_total{` + nodes + `}` + interval + `))`, legend: "all nodes"}}},
	{kind: ranking, title: "Nodes that pull most", width: 8, height: 8, unit: "short", none: "None pulls",
		help:    "The ten nodes with most pulls under way or waiting.",
		queries: []query{{expr: top(`imagecsi_pulls_in_flight{`+nodes+`}`, "node")}}, steps: neutral},
}

var kept = []panel{
	{kind: areas, title: "Volumes by access", width: 8, height: 8, unit: "short",
		help:    "Image volumes that are mounted.",
		queries: []query{{expr: `sum by (access) (imagecsi_volumes{` + nodes + `})`, legend: "{{access}}"}}},
	{kind: lines, title: "Writable volumes in memory", width: 8, height: 8, unit: "short",
		help:    "Writable volumes whose data is kept in memory, because their file system cannot limit them.",
		queries: []query{{expr: `sum(imagecsi_volumes_in_memory{` + nodes + `})`, legend: "in memory"}}},
	{kind: lines, title: "Adopted from the legacy driver", width: 8, height: 8, unit: "short",
		help:    "What the legacy driver, warm-metal's container image CSI driver, left and pods still use.",
		queries: []query{{expr: `sum(imagecsi_adopted{` + nodes + `})`, legend: "adopted"}}},
	{kind: lines, title: "Pinned images", width: 8, height: 8, unit: "short",
		help: "Image trees that are kept from garbage collection.",
		queries: []query{
			{expr: `max(imagecsi_pins{` + nodes + `})`, legend: "node with most"},
			{expr: `avg(imagecsi_pins{` + nodes + `})`, legend: "average of a node"},
		}},
	{kind: ranking, title: "Nodes with most volumes", width: 8, height: 8, unit: "short", none: "No volumes",
		help:    "The ten nodes with most image volumes.",
		queries: []query{{expr: top(`imagecsi_volumes{`+nodes+`}`, "node")}}, steps: neutral},
	{kind: ranking, title: "Nodes with orphans", width: 8, height: 8, unit: "short", none: "No orphans", runbook: "ImageCSIOrphansFound",
		help:    "The ten nodes with most data and leftovers that belong to no pod and could not be removed.",
		queries: []query{{expr: top(`imagecsi_orphans{`+nodes+`}`, "node, kind")}}, steps: []step{{0, warning}}},
}

var plugins = []panel{
	{kind: lines, title: "Memory of a node plugin", width: 8, height: 8, unit: "bytes",
		help: "What the process holds. The pod's memory also has the files of volumes in memory.",
		queries: []query{
			{expr: `max(process_resident_memory_bytes{` + plugin + `})`, legend: "node with most"},
			{expr: `quantile(0.5, process_resident_memory_bytes{` + plugin + `})`, legend: "median node"},
		}},
	{kind: lines, title: "CPU of a node plugin", width: 8, height: 8, unit: "short",
		help: "Cores.",
		queries: []query{
			{expr: `max(rate(process_cpu_seconds_total{` + plugin + `}` + interval + `))`, legend: "node with most"},
			{expr: `quantile(0.5, rate(process_cpu_seconds_total{` + plugin + `}` + interval + `))`, legend: "median node"},
		}},
	{kind: ranking, title: "Node plugins with most memory", width: 8, height: 8, unit: "bytes",
		help:    "The ten largest.",
		queries: []query{{expr: top(`process_resident_memory_bytes{`+plugin+`}`, "node")}}, steps: neutral},
}

// plugin selects what every Go process has, of node plugins alone.
const plugin = `driver!="",` + nodes

var operator = []panel{
	{kind: lines, title: "Time of a reconcile", width: 8, height: 8, unit: "s", none: notOurs,
		help: "99 of 100 take less, by controller.",
		queries: []query{{expr: `histogram_quantile(0.99, sum by (le, controller) (rate(controller_runtime_reconcile_time_seconds_bucket{` + manager + `}` + interval + `)))`,
			legend: "{{controller}}"}}},
	{kind: lines, title: "Reconciles that failed", width: 8, height: 8, unit: "ops", none: notOurs,
		help:    "By controller. The operator's log has the errors; it tries again automatically.",
		queries: []query{{expr: `sum by (controller) (rate(controller_runtime_reconcile_errors_total{` + manager + `}` + interval + `))`, legend: "{{controller}}"}}},
	{kind: lines, title: "Queue", width: 8, height: 8, unit: "short", none: notOurs,
		help:    "What waits for a reconcile, by controller. It should fall to 0 again and again.",
		queries: []query{{expr: `sum by (controller) (workqueue_depth{` + manager + `})`, legend: "{{controller}}"}}},
	{kind: areas, title: "Requests to the API server", width: 8, height: 8, unit: "reqps", none: notOurs,
		help:    "By status code. In a quiet cluster there are hardly any but for the lease.",
		queries: []query{{expr: `sum by (code) (rate(rest_client_requests_total{` + manager + `}` + interval + `))`, legend: "{{code}}"}}},
	{kind: lines, title: "Memory of the operator", width: 8, height: 8, unit: "bytes", none: notOurs,
		help:    "By replica. It grows with the number of nodes.",
		queries: []query{{expr: `sum by (pod) (process_resident_memory_bytes{` + manager + `})`, legend: "{{pod}}"}}},
	{kind: timeline, title: "Leader", width: 8, height: 8, unit: "none", none: notOurs, runbook: "ImageCSIOperatorAbsent",
		help:    "Which replica works. The others wait.",
		queries: []query{{expr: `max by (pod) (leader_election_master_status{name="image-csi-operator",` + manager + `})`, legend: "{{pod}}"}},
		words:   []word{{0, "waits", moving}, {1, "leads", good}}},
}
