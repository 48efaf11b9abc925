package render

import (
	"fmt"
	"strings"
)

// alert fires when expr has had results for the time in holds.
type alert struct {
	name, expr, holds    string
	summary, description string
}

// othersFault are the gRPC codes for what the pod's author or the registry's credentials have to fix, and those that end when
// the kubelet tries again.
const othersFault = "OK|Aborted|AlreadyExists|Canceled|DeadlineExceeded|InvalidArgument|NotFound|PermissionDenied|Unauthenticated"

// othersPulls are the results of pulls that mean the same.
const othersPulls = "OK|NotFound|NotPresent|Denied|NotYours|Unproven|OtherNodes|Unsupported|TooLarge|Untrusted|StillPulling|Abandoned"

// alerts of a driver. They use max, because two replicas of the operator report the same.
func alerts(driver string) []alert {
	return []alert{
		{
			name: "ImageCSIDriverUnavailable", holds: "15m",
			expr:    fmt.Sprintf(`max(imagecsi_driver_condition{driver=%q,condition="Available",status="False"}) == 1`, driver),
			summary: fmt.Sprintf("CSI driver %s is unavailable on some nodes.", driver),
			description: "For 15 minutes, at least one node that should serve the driver has not. Pods with image volumes do not start there; " +
				"running pods keep their volumes. status.problems of the ImageCSIDriver names the nodes.",
		},
		{
			name: "ImageCSIDriverDegraded", holds: "15m",
			expr:        fmt.Sprintf(`max(imagecsi_driver_condition{driver=%q,condition="Degraded",status="True"}) == 1`, driver),
			summary:     fmt.Sprintf("CSI driver %s is degraded.", driver),
			description: "The driver has a problem that needs action. The condition Degraded of the ImageCSIDriver says what and where.",
		},
		{
			name: "ImageCSIRolloutFailed", holds: "1m",
			expr:    fmt.Sprintf(`max(imagecsi_driver_rollout{driver=%q,phase=~"RollingBack|RolledBack"}) == 1`, driver),
			summary: fmt.Sprintf("A change of CSI driver %s failed and was rolled back.", driver),
			description: "A changed node plugin did not work on a node, so every node is rolled back to the one that worked before. " +
				"status.rollout.failure of the ImageCSIDriver names the node and the reason.",
		},
		{
			name: "ImageCSIPublishFailing", holds: "15m",
			expr: fmt.Sprintf(`sum by (node) (rate(imagecsi_operations_total{driver=%q,method="NodePublishVolume",code!~"%s"}[10m])) > 0`,
				driver, othersFault),
			summary: fmt.Sprintf("Node {{ $labels.node }} cannot mount volumes of CSI driver %s.", driver),
			description: "For 15 minutes, mounts of image volumes have failed on node {{ $labels.node }} because of a problem of the node. " +
				"The pods there wait in ContainerCreating, and their events have the reason.",
		},
		{
			name: "ImageCSIPullsFailing", holds: "15m",
			expr: fmt.Sprintf(`sum by (node, result) (rate(imagecsi_pulls_total{driver=%q,result!~"%s"}[10m])) > 0`, driver, othersPulls),
			summary: fmt.Sprintf("Node {{ $labels.node }} cannot pull images for volumes of CSI driver %s: {{ $labels.result }}.",
				driver),
			description: "For 15 minutes, pulls have ended with {{ $labels.result }} on node {{ $labels.node }}. " +
				"Changing the pods does not help.",
		},
		{
			name: "ImageCSIOrphansFound", holds: "2h",
			expr:    fmt.Sprintf(`sum by (node, kind) (imagecsi_orphans{driver=%q}) > 0`, driver),
			summary: fmt.Sprintf("Node {{ $labels.node }} keeps orphans of CSI driver %s that no pod needs.", driver),
			description: "For two hours, {{ $value }} orphans of kind {{ $labels.kind }} on node {{ $labels.node }} have belonged to no pod, " +
				"and the node plugin could not remove them. They take up disk space.",
		},
	}
}

// rule is the alert as Prometheus reads it.
func (a alert) rule() map[string]any {
	return map[string]any{
		"alert":  a.name,
		"expr":   a.expr,
		"for":    a.holds,
		"labels": map[string]any{"severity": "warning"},
		"annotations": map[string]any{
			"summary":     a.summary,
			"description": a.description,
			"runbook_url": runbooks + strings.ToLower(a.name),
		},
	}
}
