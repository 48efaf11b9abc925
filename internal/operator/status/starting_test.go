package status

import (
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/image-csi/image-csi-operator/api/v1alpha1"
)

// starting is a node that joined at one time and began at another, and does not serve.
func starting(node string, joined, began time.Duration) func(*Observation) {
	return func(seen *Observation) {
		withNode(node)(seen)
		last := &seen.Nodes[len(seen.Nodes)-1]
		last.CreationTimestamp, last.Began = metav1.NewTime(late.Add(-joined)), late.Add(-began)
	}
}

func TestNodesThatStartLeaveAvailableAsItIs(t *testing.T) {
	const hour, minute = time.Hour, time.Minute
	patience := func(seconds int32) func(*Observation) {
		return func(seen *Observation) { seen.Driver.Spec.Rollout.ProgressDeadlineSeconds = ptr.To(seconds) }
	}
	serving := ready("a")
	for name, test := range map[string]struct {
		was  metav1.ConditionStatus
		seen Observation
		want string
		next time.Duration
	}{
		"one joins":                         {metav1.ConditionTrue, observe(serving, starting("b", minute, minute)), "True NodesReady", 4 * minute},
		"the clock of others is ahead":      {metav1.ConditionTrue, observe(serving, starting("b", -minute, -minute)), "True NodesReady", 5 * minute},
		"one was rebooted, one joins":       {metav1.ConditionTrue, observe(serving, starting("b", hour, 3*minute), starting("c", minute, minute)), "True NodesReady", 2 * minute},
		"one has had its time":              {metav1.ConditionTrue, observe(serving, starting("b", 5*minute, 5*minute)), "False NodesNotReady", 0},
		"one has had its time, one joins":   {metav1.ConditionTrue, observe(serving, starting("b", hour, hour), starting("c", minute, minute)), "False NodesNotReady", 4 * minute},
		"the spec says less":                {metav1.ConditionTrue, observe(serving, starting("b", minute, minute), patience(60)), "False NodesNotReady", 0},
		"one that joins fails":              {metav1.ConditionTrue, observe(serving, starting("b", minute, minute), pod("b", "ImagePullBackOff", "denied")), "False NodesNotReady", 0},
		"none serves":                       {metav1.ConditionTrue, observe(starting("b", minute, minute)), "False NodesNotReady", 4 * minute},
		"one joins after it was lost":       {metav1.ConditionFalse, observe(serving, starting("b", minute, minute)), "True NodesReady", 4 * minute},
		"one that was there begins anew":    {metav1.ConditionFalse, observe(serving, starting("b", hour, minute)), "False NodesNotReady", 0},
		"a new driver":                      {"", observe(serving, starting("b", minute, minute)), "False NodesNotReady", 0},
		"nobody looks again, it is refused": {metav1.ConditionTrue, observe(serving, starting("b", minute, minute), refused), "False NodesNotReady", 0},
		"nobody looks again, unmanaged":     {metav1.ConditionTrue, observe(serving, starting("b", minute, minute), managed(v1alpha1.Unmanaged)), "False NodesNotReady", 0},
		"in a removal":                      {metav1.ConditionTrue, observe(serving, starting("b", minute, minute), removal(RemovalWaiting)), "False NodesNotReady", 0},
	} {
		t.Run(name, func(t *testing.T) {
			var before v1alpha1.ImageCSIDriverStatus
			if test.was != "" {
				before.Conditions = []metav1.Condition{{Type: "Available", Status: test.was, LastTransitionTime: metav1.NewTime(late.Add(-2 * minute))}}
			}
			got := Of(before, test.seen, late)
			found := meta.FindStatusCondition(got.Conditions, "Available")
			if is := fmt.Sprintf("%s %s", found.Status, found.Reason); is != test.want {
				t.Errorf("Available is %q (%s), want %q", is, found.Message, test.want)
			}
			if found.Status == metav1.ConditionTrue && (!strings.Contains(found.Message, "1 of ") || !strings.Contains(found.Message, "5m0s")) {
				t.Errorf("message %q hides the nodes that start", found.Message)
			}
			if got.Nodes.Ready == got.Nodes.Eligible {
				t.Error("the node that starts is counted as ready")
			}
			if _, next := Starting(before.Conditions, test.seen, late.Time); next != test.next {
				t.Errorf("looked at again after %s, want %s", next, test.next)
			}
		})
	}
}

func TestWhenANodeBegan(t *testing.T) {
	at := func(seconds int64) metav1.Time { return metav1.Unix(seconds, 0) }
	node := func(ready corev1.ConditionStatus, turned int64) *corev1.Node {
		return &corev1.Node{ObjectMeta: metav1.ObjectMeta{CreationTimestamp: at(10)}, Status: corev1.NodeStatus{
			Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: ready, LastTransitionTime: at(turned)}}}}
	}
	plugin := func(made, turned int64) *corev1.Pod {
		return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{CreationTimestamp: at(made)}, Status: corev1.PodStatus{
			Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionFalse, LastTransitionTime: at(turned)}}}}
	}
	for name, test := range map[string]struct {
		node *corev1.Node
		pods []*corev1.Pod
		want int64
	}{
		"it joined":             {node(corev1.ConditionFalse, 20), nil, 10},
		"it came back":          {node(corev1.ConditionTrue, 20), []*corev1.Pod{plugin(11, 12)}, 20},
		"its plugin was killed": {node(corev1.ConditionTrue, 11), []*corev1.Pod{plugin(12, 13), plugin(30, 0)}, 30},
		"its plugin turned":     {node(corev1.ConditionTrue, 11), []*corev1.Pod{plugin(12, 40)}, 40},
	} {
		if got := Began(test.node, test.pods); got.Unix() != test.want {
			t.Errorf("%s: %d, want %d", name, got.Unix(), test.want)
		}
	}
}
