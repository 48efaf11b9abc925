package why

import (
	"cmp"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/image-csi/image-csi-operator/api/v1alpha1"
	"github.com/image-csi/image-csi-operator/internal/cli/document"
	"github.com/image-csi/image-csi-operator/internal/cli/imagevolumes"
	"github.com/image-csi/image-csi-operator/internal/cli/seen"
	"github.com/image-csi/image-csi-operator/internal/contract"
	"github.com/image-csi/image-csi-operator/internal/operator/placement"
)

// podRow is a cause that the pod and its cluster show. Its function returns what was said, and whether it is the cause.
type podRow struct {
	row
	is func(question) (said string, is bool)
}

// absentRows are why no node plugin serves a volume's node, in this order.
func absentRows() []podRow {
	return []podRow{
		{row{"DriverNotInstalled", "this cluster has no CSI driver {driver}: no ImageCSIDriver has that name or alias", []string{"kubectl get imagecsidrivers   (the names that there are)", edit}, seeUse}, notInstalled},
		{row{"NodeUnsupported", "node {node} cannot serve image volumes", []string{"run the pod on another node: kubectl imagecsi nodes"}, seeProblems}, unsupported},
		{row{"NodeExcluded", "driver {driver} leaves node {node} out (spec.nodePlugin, or the label imagecsi.dev/exclude)", []string{"run the pod on another node, or have the driver select this one: kubectl label node {node} imagecsi.dev/exclude-"}, "docs/operator.md#which-nodes"}, excluded},
		{row{"NodePluginFailing", "the node plugin of node {node} does not serve", []string{"kubectl imagecsi nodes --problems", plugin}, seeProblems}, failing},
		{row{"RolloutUnderWay", "the node plugin of node {node} is being replaced; no action needed", []string{"kubectl imagecsi status"}, "docs/operator.md#changes-canary-waves-rollback"}, rollout},
	}
}

func notInstalled(q question) (string, bool) {
	return "", q.cluster.Missed(seen.Drivers) != seen.Forbidden && q.driver() == nil && q.volume.Driver != ""
}

// placed returns where the driver's plan puts the node; false if either is not known.
func placed(q question) (placement.Node, bool) {
	driver, node := q.driver(), q.cluster.Node(q.pod.Spec.NodeName)
	if driver == nil || node == nil {
		return placement.Node{}, false
	}
	return placement.ByDriver(driver, false).Of(node), true
}

func unsupported(q question) (string, bool) {
	if place, known := placed(q); known && place.Unsupported != nil {
		return string(place.Unsupported.Reason) + ": " + place.Unsupported.Message, true
	}
	return "", false
}

func excluded(q question) (string, bool) {
	place, known := placed(q)
	return "", known && !place.Selected
}

func failing(q question) (string, bool) {
	driver := q.driver()
	if driver == nil {
		return "", false
	}
	at := slices.IndexFunc(driver.Status.Problems, func(p v1alpha1.NodeProblem) bool { return p.Node == q.pod.Spec.NodeName })
	if at < 0 {
		return "", false
	}
	return string(driver.Status.Problems[at].Reason) + ": " + driver.Status.Problems[at].Message, true
}

func rollout(q question) (string, bool) {
	driver := q.driver()
	if driver == nil || driver.Status.Rollout == nil {
		return "", false
	}
	return driver.Status.Rollout.Message, slices.Contains(driver.Status.Rollout.Updating, q.pod.Spec.NodeName)
}

// absent returns why no node plugin serves the volume.
func absent(q question, said string) document.Cause {
	for _, r := range absentRows() {
		if found, is := r.is(q); is {
			return r.fill(q, cmp.Or(found, said))
		}
	}
	return row{"DriverAbsent", "no node plugin serves {driver} on node {node}", []string{askAdmin}, seeProblems}.fill(q, said)
}

// podRows are why a pod waits apart from its mounts' errors. A pod has the first one that is true.
func podRows() []podRow {
	return []podRow{
		{row{"StartupTaint", "a node keeps the pod away until its image drivers serve", []string{askAdmin}, "docs/operator.md#new-nodes-the-startup-taint"}, tainted},
		{row{"NodeDown", "a node that could take the pod does not report: its machine, its kubelet or its network is down", []string{"kubectl get nodes   (those that are not Ready: repair or remove them)", "kubectl -n {ns} describe pod {pod}"}, "docs/troubleshooting.md#there-are-no-events-about-the-volume"}, down},
		{row{"NodeTainted", "a node that could take the pod has a taint that the pod does not tolerate: the node is down, waits for its image drivers, or is for other pods", []string{"kubectl get nodes   (those that are not Ready: repair or remove them)", askAdmin, "kubectl -n {ns} describe pod {pod}"}, "docs/troubleshooting.md#there-are-no-events-about-the-volume"}, keptAway},
		{row{"NotScheduled", "no node takes the pod", []string{"kubectl -n {ns} describe pod {pod}"}, seeProblems}, unscheduled},
		{row{"UserNamespace", "the container runtime cannot map the users of volume {volume}: the pod has hostUsers: false, and the volume has not the form IDMappable", []string{edit, "in the volume's csi section: readOnly: true, and in volumeAttributes: form: IDMappable"}, seeUsers}, mapped},
	}
}

// scheduled returns the pod's condition, which has the scheduler's reason.
func scheduled(pod *corev1.Pod) *corev1.PodCondition {
	for i := range pod.Status.Conditions {
		if pod.Status.Conditions[i].Type == corev1.PodScheduled {
			return &pod.Status.Conditions[i]
		}
	}
	return nil
}

func unscheduled(q question) (string, bool) {
	condition := scheduled(q.pod)
	if q.pod.Spec.NodeName != "" || condition == nil || condition.Status != corev1.ConditionFalse || !q.volume.Bound {
		return "", false
	}
	return condition.Message, true
}

func tainted(q question) (string, bool) {
	said, is := unscheduled(q)
	return said, is && strings.Contains(said, contract.StartupTaint)
}

// downTaints are what Kubernetes puts on nodes whose kubelet does not report, or reports that it is not ready (its documentation, "Taints and
// Tolerations").
var downTaints = []string{"node.kubernetes.io/unreachable", "node.kubernetes.io/not-ready"} //nolint:gochecknoglobals // a table that nothing changes

func down(q question) (string, bool) {
	said, is := unscheduled(q)
	return said, is && slices.ContainsFunc(downTaints, func(taint string) bool { return strings.Contains(said, taint) })
}

// keptAway is for schedulers that do not name taints, as that of Kubernetes 1.37.
func keptAway(q question) (string, bool) {
	said, is := unscheduled(q)
	return said, is && strings.Contains(said, "untolerated taint(s)")
}

// cannotMap are the container runtimes' words for a mount that cannot be mapped.
var cannotMap = []string{"MOUNT_ATTR_IDMAP", "idmap"} //nolint:gochecknoglobals // a table that nothing changes

func mapped(q question) (string, bool) {
	if q.pod.Spec.HostUsers == nil || *q.pod.Spec.HostUsers || q.volume.Form == string(contract.FormIDMappable) {
		return "", false
	}
	for i := range q.cluster.Events {
		e := &q.cluster.Events[i]
		if imagevolumes.IsOf(e, q.pod) && slices.ContainsFunc(cannotMap, func(word string) bool { return strings.Contains(e.Message, word) }) {
			return e.Message, true
		}
	}
	return "", false
}
