package doctor

import (
	"cmp"

	"github.com/image-csi/image-csi-operator/internal/cli/document"
	"github.com/image-csi/image-csi-operator/internal/cli/seen"
)

// When is when a cluster is checked.
type When string

// The values of When.
const (
	// Before an installation, the cluster is checked for what it lacks.
	Before When = "Before"
	// After it, what was installed is checked, too.
	After When = "After"
)

// Needs are the kinds of objects that the checks read. Those of namespaces are read in all of them.
func Needs(when When) []seen.Resource {
	before := []seen.Resource{seen.Namespaces, seen.Nodes, seen.Drivers, seen.CSIDrivers, seen.DaemonSets}
	if when == Before {
		return before
	}
	return append(before, seen.CSINodes, seen.Policies, seen.Bindings, seen.Pods, seen.Claims, seen.Volumes, seen.Events)
}

// check is one row: what it is called, when and with what it is done, and where there is more.
type check struct {
	group, id string
	// only is when it is done; empty for always.
	only  When
	needs []seen.Resource
	see   string
	is    func(seen.Cluster) finding
}

// finding is what a check found.
type finding struct {
	result  document.CheckResult
	message string
	do      []string
}

func passed(message string) finding { return finding{result: document.CheckPassed, message: message} }

// checks are done in this order, and shown in groups.
func checks() []check {
	const install = "docs/install/README.md#what-is-the-same-on-every-page"
	return []check{
		{"cluster", "kubernetes-version", "", nil, "docs/support.md#kubernetes", kubernetesVersion},
		{"cluster", "pod-security", "", []seen.Resource{seen.Namespaces}, install, podSecurity},
		{"cluster", "operator", After, []seen.Resource{seen.Drivers}, install, operatorInstalled},
		{"cluster", "policies", After, []seen.Resource{seen.Policies, seen.Bindings}, "docs/operator.md#who-may-do-what", policies},
		{"nodes", "runtime", "", []seen.Resource{seen.Nodes}, "docs/operator.md#problems-of-nodes", runtimes},
		{"nodes", "registered", After, []seen.Resource{seen.Nodes, seen.CSINodes, seen.Drivers}, "docs/operator.md#problems-of-nodes", registered},
		{"drivers", "conditions", After, []seen.Resource{seen.Drivers}, "docs/operator.md#conditions", conditions},
		{"drivers", "other-driver", "", []seen.Resource{seen.CSIDrivers, seen.DaemonSets}, "docs/operator.md#hand-edits-and-several-drivers", otherDriver},
		{"volumes", "failing", After, []seen.Resource{seen.Pods, seen.Events}, "docs/node-plugin.md#when-something-fails", failing},
	}
}

// Examine does the checks.
func Examine(cluster seen.Cluster, when When) document.Doctor {
	var done []document.Check
	for _, c := range checks() {
		if c.only != "" && c.only != when {
			continue
		}
		f, skipped := skip(cluster, c.needs)
		if !skipped {
			f = c.is(cluster)
		}
		see := c.see
		if f.result == document.CheckPassed {
			see = ""
		}
		done = append(done, document.Check{Group: c.group, ID: c.id, Result: f.result, Message: f.message, Do: f.do, See: see})
	}
	return document.NewDoctor(done, cluster.Unread)
}

// skip returns why a check cannot be done, and whether that is so.
func skip(cluster seen.Cluster, needs []seen.Resource) (finding, bool) {
	var missing seen.Resource
	for _, kind := range needs {
		if cluster.Missed(kind) == seen.Forbidden {
			missing = cmp.Or(missing, kind)
		}
	}
	return finding{result: document.CheckSkipped, message: "you may not list " + string(missing)}, missing != ""
}
