package roster

import (
	"unique"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// kept is the part of an object that an informer needs. Nobody changes what is kept, so copies share it.
type kept struct{ metav1.ObjectMeta }

// GetObjectKind implements runtime.Object. No server serves what is kept, so it has no kind.
func (*kept) GetObjectKind() schema.ObjectKind { return schema.EmptyObjectKind }

// identity keeps of an object's metadata what tells it from others.
func identity(of metav1.ObjectMeta) kept {
	return kept{metav1.ObjectMeta{Name: of.Name, Namespace: interned(of.Namespace), UID: of.UID, ResourceVersion: of.ResourceVersion}}
}

// readiness is a Ready condition without its words.
type readiness struct {
	status corev1.ConditionStatus
	since  metav1.Time
}

func (r readiness) same(other readiness) bool {
	return r.status == other.status && r.since.Equal(&other.since)
}

// interned returns a text that many objects have, in one copy for all of them.
func interned[T ~string](text T) T { return unique.Make(text).Value() }

// internedLabels returns a node's labels with texts that are kept once. Only this node has its name, as the host's most
// often.
func internedLabels(labels map[string]string, name string) map[string]string {
	if labels == nil {
		return nil
	}
	out := make(map[string]string, len(labels))
	for key, value := range labels {
		if value == name {
			out[interned(key)] = name
			continue
		}
		out[interned(key)] = interned(value)
	}
	return out
}
