package render

import (
	"fmt"
	"slices"

	appsv1 "k8s.io/api/apps/v1"

	"github.com/image-csi/image-csi-operator/internal/contract"
)

type identity struct{ kind, namespace, name string }

func identify(object Object) identity {
	return identity{fmt.Sprintf("%T", object), object.GetNamespace(), object.GetName()}
}

// surplus returns the existing objects that are not applied any more.
func surplus(in Input, apply []Object) []Object {
	wanted := make(map[identity]bool, len(apply))
	for _, object := range apply {
		wanted[identify(object)] = true
	}
	var out []Object
	for _, object := range in.Existing {
		if !wanted[identify(object)] && !servesUnresolved(object, in.Unresolved) {
			out = append(out, object)
		}
	}
	return out
}

func servesUnresolved(object Object, classes []string) bool {
	_, isDaemonSet := object.(*appsv1.DaemonSet)
	return isDaemonSet && slices.Contains(classes, object.GetLabels()[contract.NodeClassLabel])
}
