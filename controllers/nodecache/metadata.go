package nodecache

import (
	"unique"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// metadata is the part of an object's metadata that an informer needs. It never changes, so copies share it.
type metadata struct{ metav1.ObjectMeta }

// GetObjectKind implements runtime.Object. No server serves the trimmed types, so they have no kind.
func (*metadata) GetObjectKind() schema.ObjectKind { return schema.EmptyObjectKind }

// identity returns the part of an object's metadata that identifies it and its version.
func identity(of metav1.ObjectMeta) metadata {
	return metadata{metav1.ObjectMeta{Name: of.Name, Namespace: interned(of.Namespace), UID: of.UID, ResourceVersion: of.ResourceVersion}}
}

// readiness is a Ready condition without its words.
type readiness struct {
	status corev1.ConditionStatus
	since  metav1.Time
}

func (r readiness) same(other readiness) bool {
	return r.status == other.status && r.since.Equal(&other.since)
}

// interned returns the one shared copy of a text that many objects have.
func interned[T ~string](text T) T { return unique.Make(text).Value() }

// internedLabels returns a node's labels with shared texts. The node's name, which is usually its host name too, is not
// shared, because no other node has it.
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
