package rollout

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/image-csi/image-csi-operator/api/v1alpha1"
	"github.com/image-csi/image-csi-operator/internal/contract"
)

// record is what a rollout has to remember. It is kept in an annotation of the DaemonSet, so that it changes together
// with the pod template and another operator can go on from there.
type record struct {
	// Good is the last pod template that worked, or that ran when the operator met the DaemonSet.
	Good *corev1.PodTemplateSpec `json:"good,omitempty"`
	// Youngest is when the last of those nodes joined that were there when the DaemonSet got the template that the spec
	// asks for. It identifies nodes that joined later, by the clock that recorded when they joined.
	Youngest time.Time `json:"youngest,omitzero"`
	// Newest is when the newest of those pods was made that were there when the DaemonSet's template last changed. It identifies pods
	// that were made since, by the clock that recorded when they were made.
	Newest time.Time `json:"newest,omitzero"`
	// Broken are nodes on which the earlier form failed when they got the present one; at most maxBroken.
	Broken []string `json:"broken,omitempty"`
	// Failed is why the template that the spec asks for was rolled back.
	Failed *failure `json:"failed,omitempty"`
}

// maxBroken bounds the record, which is an annotation. Nodes beyond it count as those on which the earlier form worked.
const maxBroken = 16

type failure struct {
	v1alpha1.RolloutFailure `json:",inline"`
	// Generation of the driver that failed.
	Generation int64 `json:"generation"`
}

// readRecord returns what a DaemonSet remembers; known is false if the operator has never written there.
func readRecord(daemonSet *appsv1.DaemonSet) (r record, known bool, err error) {
	text, known := daemonSet.Annotations[contract.RolloutAnnotation]
	if !known {
		return record{}, false, nil
	}
	if err := json.Unmarshal([]byte(text), &r); err != nil {
		return record{}, true, fmt.Errorf("read the annotation %s of DaemonSet %s, which the operator writes; remove it to start anew: %w",
			contract.RolloutAnnotation, daemonSet.Name, err)
	}
	return r, true, nil
}

// Earlier returns the pod template to which a rollout of a DaemonSet may go back, nil if there is none. A record that cannot be
// read has none: its rollout decides nothing.
func Earlier(daemonSet *appsv1.DaemonSet) *corev1.PodTemplateSpec {
	r, _, err := readRecord(daemonSet)
	if err != nil {
		return nil
	}
	return r.Good
}

// write puts a form and the record into a copy of a rendered DaemonSet.
func (r record) write(rendered *appsv1.DaemonSet, form form) (*appsv1.DaemonSet, error) {
	text, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("write the record of DaemonSet %s: %w", rendered.Name, err)
	}
	out := rendered.DeepCopy()
	out.Spec.Template = *form.template.DeepCopy()
	out.Annotations = maps.Clone(out.Annotations)
	if out.Annotations == nil {
		out.Annotations = map[string]string{}
	}
	out.Annotations[contract.RolloutAnnotation] = string(text)
	return out, nil
}

// form is a pod template and the revision that identifies it. Templates and pods made before there were revisions have an empty
// one.
type form struct {
	template *corev1.PodTemplateSpec
	revision string
}

func (f form) known() bool { return f.template != nil }

func formOf(template *corev1.PodTemplateSpec) form {
	if template == nil {
		return form{}
	}
	return form{template: template, revision: template.Labels[contract.RevisionLabel]}
}

// revisionDigits are enough of a hash to distinguish the forms of one DaemonSet.
const revisionDigits = 10

// stamped returns a rendered template with its revision.
func stamped(rendered *corev1.PodTemplateSpec) (form, error) {
	text, err := json.Marshal(rendered)
	if err != nil {
		return form{}, fmt.Errorf("hash the node plugin's pod template: %w", err)
	}
	sum := sha256.Sum256(text)
	template := rendered.DeepCopy()
	template.Labels = maps.Clone(template.Labels)
	if template.Labels == nil {
		template.Labels = map[string]string{}
	}
	template.Labels[contract.RevisionLabel] = hex.EncodeToString(sum[:])[:revisionDigits]
	return formOf(template), nil
}
