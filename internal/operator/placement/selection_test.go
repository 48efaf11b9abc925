package placement

import (
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/image-csi/image-csi-operator/api/v1alpha1"
	"github.com/image-csi/image-csi-operator/internal/contract"
)

func TestSelectorsTakeNodes(t *testing.T) {
	requirement := func(key v1alpha1.LabelKey, operator v1alpha1.NodeSelectorOperator, values ...v1alpha1.LabelValue) v1alpha1.NodeSelectorRequirement {
		return v1alpha1.NodeSelectorRequirement{Key: key, Operator: operator, Values: values}
	}
	term := func(all ...v1alpha1.NodeSelectorRequirement) v1alpha1.NodeSelectorTerm {
		return v1alpha1.NodeSelectorTerm{MatchExpressions: all}
	}
	plugin := func(terms ...v1alpha1.NodeSelectorTerm) v1alpha1.NodePlugin {
		return v1alpha1.NodePlugin{NodeSelectorTerms: terms}
	}
	exclude := func(value string) map[string]string {
		return map[string]string{"pool": "a", contract.ExcludeLabel: value}
	}
	a := map[string]string{"pool": "a"}
	for name, test := range map[string]struct {
		plugin v1alpha1.NodePlugin
		labels map[string]string
		want   bool
	}{
		"nothing asked":                  {plugin(), nil, true},
		"In":                             {plugin(term(requirement("pool", "In", "b", "a"))), a, true},
		"In, another value":              {plugin(term(requirement("pool", "In", "b"))), a, false},
		"In, no label":                   {plugin(term(requirement("zone", "In", ""))), a, false},
		"NotIn":                          {plugin(term(requirement("pool", "NotIn", "a"))), a, false},
		"NotIn, another value":           {plugin(term(requirement("pool", "NotIn", "b"))), a, true},
		"NotIn, no label":                {plugin(term(requirement("zone", "NotIn", "b"))), a, true},
		"Exists":                         {plugin(term(requirement("pool", "Exists"))), a, true},
		"Exists, no label":               {plugin(term(requirement("zone", "Exists"))), a, false},
		"DoesNotExist":                   {plugin(term(requirement("pool", "DoesNotExist"))), a, false},
		"DoesNotExist, no label":         {plugin(term(requirement("zone", "DoesNotExist"))), a, true},
		"all requirements of a term":     {plugin(term(requirement("pool", "Exists"), requirement("zone", "Exists"))), a, false},
		"one of the terms":               {plugin(term(requirement("zone", "Exists")), term(requirement("pool", "Exists"))), a, true},
		"labels and terms":               {v1alpha1.NodePlugin{NodeSelector: map[string]v1alpha1.LabelValue{"pool": "b"}, NodeSelectorTerms: plugin(term(requirement("pool", "Exists"))).NodeSelectorTerms}, a, false},
		"an operator of a later release": {plugin(term(requirement("pool", "Gt", "1"))), a, false},
		"taken out":                      {plugin(), exclude("true"), false},
		"taken out without a value":      {plugin(), exclude(""), false},
		"not taken out":                  {plugin(), exclude("false"), true},
	} {
		n := &corev1.Node{}
		n.Labels = test.labels
		if got := selects(test.plugin, n); got != test.want {
			t.Errorf("%s: %v, want %v", name, got, test.want)
		}
	}
}
