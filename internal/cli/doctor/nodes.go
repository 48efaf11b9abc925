package doctor

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/image-csi/image-csi-operator/api/v1alpha1"
	"github.com/image-csi/image-csi-operator/internal/cli/document"
	"github.com/image-csi/image-csi-operator/internal/cli/overview"
	"github.com/image-csi/image-csi-operator/internal/cli/seen"
	"github.com/image-csi/image-csi-operator/internal/operator/placement"
)

// maxNamed bounds how many objects a message names.
const maxNamed = 5

func named(names []string) string {
	if len(names) > maxNamed {
		return strings.Join(names[:maxNamed], ", ") + fmt.Sprintf(" and %d more", len(names)-maxNamed)
	}
	return strings.Join(names, ", ")
}

// runtimes sorts the nodes into classes, as the operator does.
func runtimes(cluster seen.Cluster) finding {
	driver := &v1alpha1.ImageCSIDriver{}
	if len(cluster.Drivers) > 0 {
		driver = &cluster.Drivers[0]
	}
	plan := placement.ByDriver(driver, false)
	classes, without := map[string]int{}, []string{}
	for i := range cluster.Nodes {
		switch place := plan.Of(&cluster.Nodes[i]); {
		case place.Unsupported != nil:
			without = append(without, fmt.Sprintf("%s (%s)", place.Name, place.Unsupported.Reason))
		case place.Wanted != "":
			classes[place.Wanted]++
		}
	}
	var sorted []string
	for _, class := range slices.Sorted(maps.Keys(classes)) {
		sorted = append(sorted, fmt.Sprintf("%d %s", classes[class], class))
	}
	switch {
	case len(classes) == 0:
		return finding{document.CheckError, "no node can serve image volumes: " + named(without), []string{"kubectl imagecsi nodes"}}
	case len(without) > 0:
		return finding{document.CheckWarning, fmt.Sprintf("%s; %s cannot serve image volumes: %s", strings.Join(sorted, ", "), count(len(without), "node"), named(without)),
			[]string{"move these nodes to containerd or CRI-O, or keep pods with image volumes off them"}}
	default:
		return passed("every selected node has a class: " + strings.Join(sorted, ", "))
	}
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// registered checks that kubelets have registered the drivers.
func registered(cluster seen.Cluster) finding {
	var missing []string
	nodes := overview.Nodes(cluster, overview.NodeFilter{}).Items
	for i := range nodes {
		for _, d := range nodes[i].Drivers {
			if d.Readiness == document.NodeNotReady {
				missing = append(missing, fmt.Sprintf("%s (%s)", nodes[i].Name, d.Reason))
			}
		}
	}
	if len(missing) > 0 {
		return finding{document.CheckError, "pods with image volumes do not start on " + named(missing), []string{"kubectl imagecsi nodes --problems -o wide"}}
	}
	return passed("every node that can serve the drivers does")
}
