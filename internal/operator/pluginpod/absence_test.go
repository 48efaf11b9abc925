package pluginpod

import (
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestTheWordsOfAnAbsence(t *testing.T) {
	const security = `Error creating: pods "plugin-x7k2p" is forbidden: violates PodSecurity "baseline:latest": host namespaces (hostPID=true)`
	for name, test := range map[string]struct {
		refusal string
		want    []string
	}{
		"unknown":      {"", []string{"kubectl -n here describe daemonset plugin"}},
		"quota":        {`Error creating: pods "plugin-x7k2p" is forbidden: exceeded quota: few`, []string{"Error creating: the pod is forbidden: exceeded quota: few"}},
		"pod security": {security, []string{"Namespace here has the Pod Security level baseline:latest", "kubectl label --overwrite namespace here pod-security.kubernetes.io/enforce=privileged", "hostPID=true"}},
		"of another":   {`pods "other-x7k2p" is forbidden`, []string{`pods "other-x7k2p" is forbidden`}},
	} {
		words := Absence{DaemonSet: "plugin", Namespace: "here", Refusal: test.refusal}.Words(5 * time.Minute)
		for _, want := range append(test.want, "DaemonSet plugin has created no pod for the node in 5m0s.") {
			if !strings.Contains(words, want) {
				t.Errorf("%s: %q lacks %q", name, words, want)
			}
		}
		if strings.Contains(words, "plugin-x7k2p") {
			t.Errorf("%s: %q has a name that is another at each try", name, words)
		}
	}
}

func TestTheLatestRefusalCounts(t *testing.T) {
	at := func(seconds int64) time.Time { return time.Unix(seconds, 0) }
	events := []corev1.Event{
		{Message: "first", LastTimestamp: metav1.NewTime(at(1))},
		{Message: "last", Series: &corev1.EventSeries{LastObservedTime: metav1.NewMicroTime(at(9))}},
		{Message: "second", EventTime: metav1.NewMicroTime(at(5))},
	}
	if got := Refusal(events); got != "last" {
		t.Errorf("refusal %q", got)
	}
	if got := Refusal(nil); got != "" {
		t.Errorf("without events, refusal %q", got)
	}
}
