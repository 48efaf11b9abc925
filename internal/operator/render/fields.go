package render

import (
	"fmt"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
)

// Fields returns an object as server-side apply wants it: only the fields that the driver decides, without a status.
func Fields(object Object) (*unstructured.Unstructured, error) {
	fields, err := runtime.DefaultUnstructuredConverter.ToUnstructured(object)
	if err != nil {
		return nil, fmt.Errorf("convert %T %s for server-side apply: %w", object, object.GetName(), err)
	}
	delete(fields, "status")
	return &unstructured.Unstructured{Object: fields}, nil
}
