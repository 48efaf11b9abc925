package handover

import (
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"
)

func TestADaemonSetTakesNodesAsItsControllerDoes(t *testing.T) {
	for says, test := range map[string]struct {
		pod, node string
		fits      bool
	}{
		"everywhere":                    {"{}", "{}", true},
		"the label of the handover":     {"{nodeSelector: {imagecsi.dev/legacy-driver: Keep}}", "{}", true},
		"another pool":                  {"{nodeSelector: {pool: a}}", "{metadata: {labels: {pool: b}}}", false},
		"an affinity":                   {"{affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchExpressions: [{key: size, operator: Gt, values: ['3']}]}]}}}}", "{metadata: {labels: {size: '4'}}}", true},
		"a taint":                       {"{}", "{spec: {taints: [{key: gpu, effect: NoExecute}]}}", false},
		"a taint that is tolerated":     {"{tolerations: [{key: gpu, operator: Exists}]}", "{spec: {taints: [{key: gpu, effect: NoExecute}]}}", true},
		"a taint that keeps nobody":     {"{}", "{spec: {taints: [{key: gpu, effect: PreferNoSchedule}]}}", true},
		"a node that is drained":        {"{}", "{spec: {taints: [{key: node.kubernetes.io/unschedulable, effect: NoSchedule}]}}", true},
		"a node without a network":      {"{}", "{spec: {taints: [{key: node.kubernetes.io/network-unavailable, effect: NoSchedule}]}}", false},
		"a pod in the node's own one":   {"{hostNetwork: true}", "{spec: {taints: [{key: node.kubernetes.io/network-unavailable, effect: NoSchedule}]}}", true},
		"a selection that nobody reads": {"{affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchExpressions: [{key: a, operator: What}]}]}}}}", "{}", false},
	} {
		var set appsv1.DaemonSet
		var node corev1.Node
		if err := yaml.UnmarshalStrict([]byte("{spec: {template: {spec: "+test.pod+"}}}"), &set); err != nil {
			t.Fatal(err)
		}
		if err := yaml.UnmarshalStrict([]byte(test.node), &node); err != nil {
			t.Fatal(err)
		}
		if got := Fits(&set, &node); got != test.fits {
			t.Errorf("%s: %v", says, got)
		}
	}
}

func TestARecordIsReadAsItWasWritten(t *testing.T) {
	text, err := Record{UpdateStrategy: appsv1.DaemonSetUpdateStrategy{Type: appsv1.OnDeleteDaemonSetStrategyType}}.Encode()
	if err != nil {
		t.Fatal(err)
	}
	record, err := ReadRecord(text)
	if err != nil || record == nil || record.UpdateStrategy.Type != appsv1.OnDeleteDaemonSetStrategyType {
		t.Errorf("record %+v, error %v", record, err)
	}
	if record, err := ReadRecord(""); record != nil || err != nil {
		t.Errorf("without one: %+v, %v", record, err)
	}
	if _, err := ReadRecord("{"); err == nil {
		t.Error("no error of a text that is no record")
	}
}
