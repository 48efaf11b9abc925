package doctor

import (
	"fmt"
	"slices"
	"time"

	"github.com/image-csi/image-csi-operator/internal/cli/document"
	"github.com/image-csi/image-csi-operator/internal/cli/overview"
	"github.com/image-csi/image-csi-operator/internal/cli/seen"
	"github.com/image-csi/image-csi-operator/internal/contract"
)

// conditions checks what the operator reports.
func conditions(cluster seen.Cluster) finding {
	var messages []string
	drivers := overview.Status(cluster, "", time.Time{}).Drivers
	for i := range drivers {
		if d := &drivers[i]; d.State.NeedsAction() {
			messages = append(messages, fmt.Sprintf("%s is %s: %s", d.Name, d.State, d.Message))
		}
	}
	if len(messages) > 0 {
		return finding{document.CheckError, named(messages), []string{"kubectl imagecsi status"}}
	}
	return passed("no driver needs action")
}

// otherDriver looks for a CSI driver of another installation under one of the names: the legacy driver above all.
func otherDriver(cluster seen.Cluster) finding {
	names := append(cluster.Names(), contract.DefaultDriverName, contract.LegacyEarlierDriverName)
	for _, set := range cluster.DaemonSets {
		if set.Driver == "" && slices.Contains(names, set.Serves) {
			return finding{document.CheckWarning, fmt.Sprintf("DaemonSet %s/%s serves %s, which an ImageCSIDriver of that name would serve, too", set.Namespace, set.Name, set.Serves),
				[]string{"kubectl imagecsi migrate   (prints the ImageCSIDriver that replaces it)"}}
		}
	}
	for i := range cluster.CSIDrivers {
		if o := &cluster.CSIDrivers[i]; slices.Contains(names, o.Name) && o.Labels[contract.DriverLabel] == "" {
			return finding{document.CheckWarning, "CSIDriver " + o.Name + " is not the operator's", []string{"kubectl get csidriver " + o.Name + " -o yaml   (whose it is)"}}
		}
	}
	return passed("no other installation has the drivers' names")
}

// failing counts the pods that wait for an image volume.
func failing(cluster seen.Cluster) finding {
	var waiting, do []string
	volumes := overview.Volumes(cluster, overview.VolumeFilter{}).Items
	for i := range volumes {
		v := &volumes[i]
		if v.State != document.VolumeFailed {
			continue
		}
		if waiting = append(waiting, v.Namespace+"/"+v.Pod); len(do) == 0 {
			do = []string{"kubectl imagecsi why pod/" + v.Pod + " -n " + v.Namespace}
		}
	}
	if len(waiting) > 0 {
		return finding{document.CheckWarning, count(len(waiting), "volume") + " cannot be mounted, of pods " + named(slices.Compact(waiting)), do}
	}
	return passed(fmt.Sprintf("%d image volumes, none of which failed to mount", len(volumes)))
}
