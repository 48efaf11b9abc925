package status

import (
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/image-csi/image-csi-operator/api/v1alpha1"
	"github.com/image-csi/image-csi-operator/internal/operator/render"
)

// ends is a node plugin that should have ended some time ago, on a node that has been silent for some time; 0 for one that
// reports.
func ends(node string, overdue, silent time.Duration) func(*Observation) {
	return func(seen *Observation) {
		withNode(node, name)(seen)
		if silent > 0 {
			ready := &seen.Nodes[len(seen.Nodes)-1].Status.Conditions[0]
			ready.Status, ready.LastTransitionTime = corev1.ConditionFalse, metav1.NewTime(late.Add(-silent))
		}
		plugin(node, "containerd", func(pod *corev1.Pod) {
			pod.Name, pod.Namespace = "plugin-"+node, "system"
			pod.DeletionTimestamp = ptr.To(metav1.NewTime(late.Add(-overdue)))
		})(seen)
	}
}

func TestOnlyPodsOnSilentNodesArePassedOverAndOnlyIfVolumesAreIgnored(t *testing.T) {
	const deadline = 300 * time.Second
	all := []func(*Observation){ends("just", time.Second, 0), ends("slow", time.Minute, 0), ends("silent", time.Minute, time.Minute), ends("dead", time.Hour, time.Hour)}
	waits := Linger(observe(all...), late.Time)
	if waits.Overdue.Len() != 3 || waits.Overdue.Has("plugin-just") || waits.Abandoned.Len() != 0 {
		t.Errorf("overdue %v, passed over %v", waits.Overdue, waits.Abandoned)
	}
	if want := overdueAfter - time.Second; waits.Next != want {
		t.Errorf("looks again in %s, want %s", waits.Next, want)
	}
	seen := observe(append(all, ignores)...)
	if got := Linger(seen, late.Time); !got.Abandoned.Has("plugin-dead") || got.Abandoned.Len() != 1 {
		t.Errorf("passed over %v", got.Abandoned)
	}
	if got := Linger(seen, late.Add(deadline)); got.Abandoned.Len() != 2 || got.Next != 0 {
		t.Errorf("later: passed over %v, next %s", got.Abandoned, got.Next)
	}
	seen.Pods[3].DeletionTimestamp = nil
	if got := Linger(seen, late.Time); got.Abandoned.Len() != 0 {
		t.Errorf("passed over %v, which nobody has ended", got.Abandoned)
	}
}

func TestARemovalThatWaitsForADeadNodeSaysSo(t *testing.T) {
	seen := observe(ends("dead", time.Hour, time.Hour), ends("slow", time.Hour, 0), removal(RemovalStopping))
	seen.Lingering = Linger(seen, late.Time)
	got := Of(v1alpha1.ImageCSIDriverStatus{}, seen, late)
	if len(got.Problems) != 2 || !strings.Contains(got.Problems[0].Message, "kubectl delete node dead") || !strings.Contains(got.Problems[0].Message, "kubectl -n system delete pod plugin-dead --force") {
		t.Errorf("problems %+v", got.Problems)
	}
	degraded := meta.FindStatusCondition(got.Conditions, v1alpha1.ConditionDegraded)
	if degraded.Reason != string(v1alpha1.ProblemNotEnding) || !strings.Contains(degraded.Message, "node dead") {
		t.Errorf("Degraded %+v", degraded)
	}
	ignores(&seen)
	seen.Lingering, seen.Removal = Linger(seen, late.Time), RemovalDone
	done := meta.FindStatusCondition(Of(v1alpha1.ImageCSIDriverStatus{}, seen, late).Conditions, v1alpha1.ConditionProgressing)
	if !strings.Contains(done.Message, "(dead)") {
		t.Errorf("Progressing %q does not tell of the node that was passed over", done.Message)
	}
}

func TestARemovalThatWaitsForAKindNamesIt(t *testing.T) {
	seen := observe(removal(RemovalStopping))
	seen.Lingering.Unclear = []render.OptionalKind{render.PodMonitor(), render.SeccompProfile()}
	progressing := meta.FindStatusCondition(Of(v1alpha1.ImageCSIDriverStatus{}, seen, late).Conditions, v1alpha1.ConditionProgressing)
	if progressing.Reason != string(RemovalStopping) || !strings.Contains(progressing.Message, "podmonitors.monitoring.coreos.com, seccompprofiles.") ||
		strings.Contains(progressing.Message, "are ending") {
		t.Errorf("Progressing %+v", progressing)
	}
}

func TestSilentSince(t *testing.T) {
	node := func(conditions ...corev1.NodeCondition) *corev1.Node {
		out := &corev1.Node{}
		out.CreationTimestamp, out.Status.Conditions = early, conditions
		return out
	}
	ready := corev1.NodeCondition{Type: corev1.NodeReady, Status: corev1.ConditionTrue, LastTransitionTime: late}
	unknown := ready
	unknown.Status = corev1.ConditionUnknown
	for name, test := range map[string]struct {
		node *corev1.Node
		want time.Time
	}{
		"ready":      {node(ready), time.Time{}},
		"silent":     {node(unknown), late.Time},
		"never said": {node(), early.Time},
	} {
		if got := silentSince(test.node); !got.Equal(test.want) {
			t.Errorf("%s: %v, want %v", name, got, test.want)
		}
	}
}
