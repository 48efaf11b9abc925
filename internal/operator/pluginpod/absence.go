package pluginpod

import (
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// Absence describes that a DaemonSet has no pod for a node.
type Absence struct {
	// DaemonSet and Namespace are its name and its namespace.
	DaemonSet, Namespace string
	// Refusal is why its controller could not create a pod last time; empty if that is not known.
	Refusal string
}

// Words returns a sentence that names the cause and, for a common one, the remedy first: the API server's words may be long.
func (a Absence) Words(lasts time.Duration) string {
	out := fmt.Sprintf("DaemonSet %s has created no pod for the node in %s.", a.DaemonSet, lasts)
	refusal := a.refusal()
	if refusal == "" {
		return out + fmt.Sprintf(" To see why: kubectl -n %s describe daemonset %s", a.Namespace, a.DaemonSet)
	}
	if _, rest, is := strings.Cut(refusal, `violates PodSecurity "`); is {
		level, _, _ := strings.Cut(rest, `"`)
		out += fmt.Sprintf(" Namespace %s has the Pod Security level %s, and node plugins need privileged: kubectl label --overwrite namespace %s pod-security.kubernetes.io/enforce=privileged.",
			a.Namespace, level, a.Namespace)
	}
	return out + " " + refusal
}

// refusal leaves out the pod's generated name, because each try has another.
func (a Absence) refusal() string {
	before, rest, has := strings.Cut(a.Refusal, `pods "`+a.DaemonSet+"-")
	if !has {
		return a.Refusal
	}
	_, after, closed := strings.Cut(rest, `"`)
	if !closed {
		return a.Refusal
	}
	return before + "the pod" + after
}

// Refusal returns what the latest of some events about pods that could not be created says; empty if there is none.
func Refusal(events []corev1.Event) string {
	var latest *corev1.Event
	for i := range events {
		if latest == nil || last(latest).Before(last(&events[i])) {
			latest = &events[i]
		}
	}
	if latest == nil {
		return ""
	}
	return latest.Message
}

// last returns when an event happened last. Which field says so depends on the client that wrote it.
func last(event *corev1.Event) time.Time {
	out := event.LastTimestamp.Time
	if event.EventTime.After(out) {
		out = event.EventTime.Time
	}
	if event.Series != nil && event.Series.LastObservedTime.After(out) {
		out = event.Series.LastObservedTime.Time
	}
	return out
}
