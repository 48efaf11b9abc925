package render

import (
	"reflect"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/image-csi/image-csi-operator/internal/contract"
)

type identity struct{ kind, namespace, name string }

func identify(object Object) identity {
	return identity{KindOf(object), object.GetNamespace(), object.GetName()}
}

// KindOf returns an object's kind. The cache leaves the field of that name empty in objects that have a Go type.
func KindOf(object Object) string {
	if untyped, is := object.(*unstructured.Unstructured); is {
		return untyped.GetKind()
	}
	return reflect.TypeOf(object).Elem().Name()
}

// NeededByPods reports whether node plugins' pods depend on an object: they run with it, or the kubelet asks for it. Others
// only watch them.
func NeededByPods(object Object) bool {
	switch kind := object.GetObjectKind().GroupVersionKind(); kind {
	case PodMonitor().GroupVersionKind, PrometheusRule().GroupVersionKind:
		return false
	}
	return true
}

// Same reports whether two objects are the same object of the cluster.
func Same(a, b Object) bool { return identify(a) == identify(b) }

// Find returns the one of some objects that is the same as another; nil if there is none.
func Find(objects []Object, like Object) Object {
	for _, object := range objects {
		if Same(object, like) {
			return object
		}
	}
	return nil
}

// surplus returns the existing objects that are not applied any more.
func surplus(in Input, apply []Object) []Object {
	wanted := make(map[identity]bool, len(apply))
	for _, object := range apply {
		wanted[identify(object)] = true
	}
	var out []Object
	for _, object := range in.Existing {
		if !wanted[identify(object)] && !servesUnresolved(object, in.Unresolved) && !hasNodes(object) && !isReferenced(object, in) {
			out = append(out, object)
		}
	}
	return out
}

// hasNodes reports whether a DaemonSet has nodes by the DaemonSet controller's status. An operator that sees no node of a class
// may not see all nodes, or be ahead of that controller; the DaemonSet is deleted when both agree.
func hasNodes(object Object) bool {
	daemonSet, is := object.(*appsv1.DaemonSet)
	return is && daemonSet.Status.DesiredNumberScheduled > 0
}

func servesUnresolved(object Object, classes []string) bool {
	_, isDaemonSet := object.(*appsv1.DaemonSet)
	return isDaemonSet && slices.Contains(classes, object.GetLabels()[contract.NodeClassLabel])
}
