package uninstall

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/image-csi/image-csi-operator/api/v1alpha1"
	"github.com/image-csi/image-csi-operator/internal/cli/document"
	"github.com/image-csi/image-csi-operator/internal/cli/imagevolumes"
	"github.com/image-csi/image-csi-operator/internal/cli/seen"
)

// Needs are the kinds of objects that a plan reads, in all namespaces.
func Needs() []seen.Resource {
	return []seen.Resource{seen.Drivers, seen.Pods, seen.Claims, seen.Volumes, seen.Classes, seen.Operators, seen.Namespaces, seen.DaemonSets}
}

// Plan returns the steps that remove what was seen, in their order; those that nothing is left of are done. Names are CSI driver names of
// ImageCSIDrivers that are gone already.
func Plan(cluster seen.Cluster, names ...string) document.Uninstall {
	way, names := wayOf(cluster), append(cluster.Names(), names...)
	steps := []document.UninstallStep{pods(cluster, names), claims(cluster, names), classes(cluster, names), drivers(cluster)}
	steps = append(steps, operators(cluster)...)
	if way != document.InstalledNot {
		steps = append(steps, remains(cluster))
	}
	return document.NewUninstall(way, steps, cluster.Unread)
}

// wayOf is the way in which the operator was installed.
func wayOf(cluster seen.Cluster) document.Installation {
	if len(cluster.Operators) == 0 {
		return document.InstalledNot
	}
	switch o := cluster.Operators[0]; {
	case o.Extension != "":
		return document.InstalledByOLMv1
	case o.CSV != "":
		return document.InstalledByOLM
	case o.Release != "":
		return document.InstalledByHelm
	default:
		return document.InstalledByManifests
	}
}

// unread is a step of which is not known whether it is done; the second result is false if everything was read.
func unread(cluster seen.Cluster, id document.UninstallStepID, kinds ...seen.Resource) (document.UninstallStep, bool) {
	for _, kind := range kinds {
		if cluster.Missed(kind) == seen.Forbidden {
			return document.UninstallStep{ID: id, State: document.StepBlocked, Message: fmt.Sprintf("not known: you may not list %s", kind)}, true
		}
	}
	return document.UninstallStep{}, false
}

// pods have to end first: a driver stays on a node until no pod there uses a volume of it.
func pods(cluster seen.Cluster, names []string) document.UninstallStep {
	if step, missing := unread(cluster, document.UninstallPods, seen.Pods, seen.Claims, seen.Volumes, seen.Drivers); missing {
		return step
	}
	var users []string
	for i := range cluster.Pods {
		if uses(cluster, names, &cluster.Pods[i]) {
			users = append(users, cluster.Pods[i].Namespace+"/"+cluster.Pods[i].Name)
		}
	}
	if len(users) == 0 {
		return document.UninstallStep{ID: document.UninstallPods, State: document.StepDone, Message: "no pod uses a volume of the drivers"}
	}
	return document.UninstallStep{ID: document.UninstallPods, State: document.StepBlocked, Objects: users,
		Message:  fmt.Sprintf("%s of the drivers: %s; end them, and what makes them again", counted(len(users), "pod uses volumes", "pods use volumes"), sample(users)),
		Commands: []string{"kubectl imagecsi volumes -A"}}
}

// uses reports whether a pod has a volume of one of the drivers, and has not ended.
func uses(cluster seen.Cluster, names []string, pod *corev1.Pod) bool {
	return slices.ContainsFunc(imagevolumes.Of(cluster, pod), func(v imagevolumes.Volume) bool {
		return v.State != document.VolumeEnded && slices.Contains(names, v.Driver)
	})
}

// claims and their PersistentVolumes are people's. The operator deletes those that it made for a claim, so they go before it.
func claims(cluster seen.Cluster, names []string) document.UninstallStep {
	if step, missing := unread(cluster, document.UninstallClaims, seen.Claims, seen.Volumes, seen.Drivers); missing {
		return step
	}
	var commands, objects []string
	for i := range cluster.Volumes {
		v := &cluster.Volumes[i]
		if v.Spec.CSI == nil || !slices.Contains(names, v.Spec.CSI.Driver) {
			continue
		}
		objects = append(objects, "persistentvolume/"+v.Name)
		if ref := v.Spec.ClaimRef; ref != nil && slices.ContainsFunc(cluster.Claims, func(c corev1.PersistentVolumeClaim) bool { return c.Namespace == ref.Namespace && c.Name == ref.Name }) {
			commands = append(commands, fmt.Sprintf("kubectl -n %s delete persistentvolumeclaim %s", ref.Namespace, ref.Name))
		}
		if v.Annotations[provisionedBy] == "" {
			commands = append(commands, "kubectl delete persistentvolume "+v.Name)
		}
	}
	if len(objects) == 0 {
		return document.UninstallStep{ID: document.UninstallClaims, State: document.StepDone, Message: noneOf("PersistentVolume", names)}
	}
	return document.UninstallStep{ID: document.UninstallClaims, State: document.StepToDo, Objects: objects, Commands: commands,
		Message: counted(len(objects), "PersistentVolume", "PersistentVolumes") + " of the drivers would never mount again; the operator deletes those that it made when their claims go"}
}

// provisionedBy is the annotation of PersistentVolumes that were made for a claim.
const provisionedBy = "pv.kubernetes.io/provisioned-by"

func classes(cluster seen.Cluster, names []string) document.UninstallStep {
	if step, missing := unread(cluster, document.UninstallClasses, seen.Classes, seen.Drivers); missing {
		return step
	}
	step := document.UninstallStep{ID: document.UninstallClasses, State: document.StepDone, Message: noneOf("StorageClass", names)}
	for i := range cluster.Classes {
		if c := &cluster.Classes[i]; slices.Contains(names, c.Provisioner) {
			step.Objects = append(step.Objects, "storageclass/"+c.Name)
			step.Commands = append(step.Commands, "kubectl delete storageclass "+c.Name)
		}
	}
	if len(step.Objects) > 0 {
		step.State, step.Message = document.StepToDo, counted(len(step.Objects), "StorageClass has", "StorageClasses have")+" a driver as provisioner"
	}
	return step
}

// drivers are deleted while the operator runs, because only it can remove them from the nodes.
func drivers(cluster seen.Cluster) document.UninstallStep {
	if step, missing := unread(cluster, document.UninstallDrivers, seen.Drivers, seen.Operators); missing {
		return step
	}
	if len(cluster.Drivers) == 0 {
		return document.UninstallStep{ID: document.UninstallDrivers, State: document.StepDone, Message: "there is no ImageCSIDriver"}
	}
	step := document.UninstallStep{ID: document.UninstallDrivers, State: document.StepToDo, Commands: []string{"kubectl delete imagecsidrivers --all"},
		Message: "only the operator can remove drivers from the nodes; the command ends when no pod uses a volume of theirs"}
	for i := range cluster.Drivers {
		step.Objects = append(step.Objects, "imagecsidriver/"+cluster.Drivers[i].Name)
	}
	if at := slices.IndexFunc(cluster.Drivers, func(d v1alpha1.ImageCSIDriver) bool { return d.Spec.ManagementState == v1alpha1.Unmanaged }); at >= 0 {
		step.State = document.StepBlocked
		step.Commands = []string{"kubectl patch imagecsidriver " + cluster.Drivers[at].Name + " --type merge -p '{\"spec\": {\"managementState\": \"Managed\"}}'"}
		step.Message = "ImageCSIDriver " + cluster.Drivers[at].Name + " is Unmanaged: deleted like that, it leaves its node plugins behind"
		return step
	}
	if !slices.ContainsFunc(cluster.Operators, func(o seen.Operator) bool { return o.Available }) {
		step.State, step.Commands = document.StepBlocked, []string{"kubectl get deployments -A -l app.kubernetes.io/name=image-csi-operator"}
		step.Message = "no operator runs, so drivers that are deleted would stay with their finalizer: start or install it again first (docs/operator.md#uninstall)"
	}
	return step
}

// noneOf is the message of a step that nothing is left of. Without a driver nobody knows the names.
func noneOf(what string, names []string) string {
	if len(names) == 0 {
		return "no " + what + " is known to be a driver's, because there is no ImageCSIDriver"
	}
	return "no " + what + " is a driver's"
}

func counted(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// shown is how many names a message has; the document has all.
const shown = 5

func sample(names []string) string {
	if len(names) <= shown {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:shown], ", "), len(names)-shown)
}
