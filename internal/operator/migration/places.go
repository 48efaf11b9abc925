package migration

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/image-csi/image-csi-operator/api/v1alpha1"
)

func tolerations(m *mapping, path string, value any) {
	list, is := as[[]corev1.Toleration](m, path, value)
	if !is {
		return
	}
	for _, t := range list {
		m.driver.Spec.NodePlugin.Tolerations = append(m.driver.Spec.NodePlugin.Tolerations, v1alpha1.Toleration{Key: v1alpha1.LabelKey(t.Key),
			Operator: v1alpha1.TolerationOperator(t.Operator), Value: v1alpha1.LabelValue(t.Value), Effect: v1alpha1.TaintEffect(t.Effect), TolerationSeconds: t.TolerationSeconds})
	}
	m.note(Mapped, path, "spec.nodePlugin.tolerations")
}

func nodeSelector(m *mapping, path string, value any) {
	labels, is := as[map[string]v1alpha1.LabelValue](m, path, value)
	if !is {
		return
	}
	if labels[corev1.LabelOSStable] == "linux" {
		delete(labels, corev1.LabelOSStable) // as everywhere
	}
	if len(labels) == 0 {
		m.note(Unneeded, path, "only Linux nodes get the driver")
		return
	}
	m.driver.Spec.NodePlugin.NodeSelector = labels
	m.note(Mapped, path, "spec.nodePlugin.nodeSelector")
}

// affinity takes over what node affinity requires by labels. What it prefers has no effect on the pods of a DaemonSet.
func affinity(m *mapping, path string, value any) {
	wanted, is := as[corev1.Affinity](m, path, value)
	if !is {
		return
	}
	if wanted.PodAffinity != nil || wanted.PodAntiAffinity != nil {
		m.note(Unmatched, path, "affinity to other pods; every selected node gets one node plugin. Select the nodes by labels")
	}
	if wanted.NodeAffinity == nil {
		return
	}
	if len(wanted.NodeAffinity.PreferredDuringSchedulingIgnoredDuringExecution) > 0 {
		m.note(Unneeded, path, "preferred nodes: a DaemonSet's pods have one node each")
	}
	required := wanted.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution
	if required == nil {
		return
	}
	terms, fits := selectorTerms(required.NodeSelectorTerms)
	if !fits {
		m.note(Action, path, "spec.nodePlugin.nodeSelectorTerms has the operators In, NotIn, Exists and DoesNotExist on labels, and this asks for others; "+
			"without a selection every node gets the driver, so write one first")
		return
	}
	m.driver.Spec.NodePlugin.NodeSelectorTerms = terms
	m.note(Mapped, path, "spec.nodePlugin.nodeSelectorTerms")
}

// selectorTerms converts terms, and reports whether all of them can be.
func selectorTerms(from []corev1.NodeSelectorTerm) (out []v1alpha1.NodeSelectorTerm, fits bool) {
	for _, term := range from {
		if len(term.MatchFields) > 0 || len(term.MatchExpressions) == 0 {
			return nil, false
		}
		var to v1alpha1.NodeSelectorTerm
		for _, r := range term.MatchExpressions {
			if !slices.Contains([]string{"In", "NotIn", "Exists", "DoesNotExist"}, string(r.Operator)) {
				return nil, false
			}
			requirement := v1alpha1.NodeSelectorRequirement{Key: v1alpha1.LabelKey(r.Key), Operator: v1alpha1.NodeSelectorOperator(r.Operator)}
			for _, value := range r.Values {
				requirement.Values = append(requirement.Values, v1alpha1.LabelValue(value))
			}
			to.MatchExpressions = append(to.MatchExpressions, requirement)
		}
		out = append(out, to)
	}
	return out, len(out) > 0
}

// selinuxContext is user:role:type:level, and the level may have colons.
func selinuxContext(m *mapping, path string, value any) {
	text, is := as[string](m, path, value)
	if !is {
		return
	}
	parts := strings.SplitN(text, ":", 4)
	if len(parts) < 3 {
		m.note(Unmatched, path, "%q is no SELinux context; files of volumes have the type container_file_t", text)
		return
	}
	level := "s0"
	if len(parts) == 4 {
		level = parts[3]
	}
	if parts[2] == defaultFileType && level == "s0" {
		m.note(Unneeded, path, "files of volumes have this label on nodes with SELinux")
		return
	}
	m.driver.Spec.NodePlugin.Confinement = &v1alpha1.ContainerConfinement{VolumeSELinuxOptions: &v1alpha1.VolumeSELinuxOptions{Type: parts[2], Level: level}}
	m.note(Mapped, path, "spec.nodePlugin.confinement.volumeSELinuxOptions, in mount mode Nsenter")
	if strings.Contains(level, ":") {
		m.note(Action, path, "the categories of %s also have to be in spec.nodePlugin.confinement.seLinuxOptions.level, so that pods can write", level)
	}
}
