package ownership

import (
	"reflect"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
	"sigs.k8s.io/structured-merge-diff/v6/value"
)

// Operator is the field manager of everything that the operator applies.
const Operator = "image-csi-operator"

// Object is any object of the API.
type Object interface {
	metav1.Object
	runtime.Object
}

// Holds reports whether what an owner has applied to a live object, by the server's record, is what it wants: every field with
// its value, and no more. A hand edit changes the value or takes the field over, and a field that is no longer wanted is still
// owned: each makes a difference. The record also says which items of a list are the owner's, to which others may have added.
// Of a live object that cannot be read, Holds reports false.
func Holds(live Object, want *unstructured.Unstructured, owner string) bool {
	owned := Applied(live, owner)
	if owned == nil {
		return false
	}
	fields, err := runtime.DefaultUnstructuredConverter.ToUnstructured(live)
	if err != nil {
		return false
	}
	wanted := want.DeepCopy().Object
	for _, identity := range [][]string{{"apiVersion"}, {"kind"}, {"metadata", "name"}, {"metadata", "namespace"}} {
		unstructured.RemoveNestedField(wanted, identity...) // The server's record has no owner for these.
	}
	if metadata, is := wanted["metadata"].(map[string]any); is && len(metadata) == 0 {
		delete(wanted, "metadata")
	}
	return holdsOwned(fields, wanted, owned)
}

// holdsOwned reports whether the owned part of a live value is what is wanted: no more, and no less.
func holdsOwned(live, want any, owned *fieldpath.Set) bool {
	parts := owned.Members.Copy()
	for part := range owned.Children.All() {
		parts.Insert(part)
	}
	if parts.Size() == 0 {
		return reflect.DeepEqual(live, want) // owned as a whole
	}
	if parts.Size() != size(want) {
		return false
	}
	for part := range parts.All() {
		held, isHeld := find(live, part)
		wanted, isWanted := find(want, part)
		if !isHeld || !isWanted || !holdsOwned(held, wanted, owned.WithPrefix(part)) {
			return false
		}
	}
	return true
}

// size is the number of a value's fields or items.
func size(of any) int {
	switch of := of.(type) {
	case map[string]any:
		return len(of)
	case []any:
		return len(of)
	}
	return 0
}

// find returns a field, or an item of a list.
func find(in any, part fieldpath.PathElement) (any, bool) {
	switch in := in.(type) {
	case map[string]any:
		if part.FieldName != nil {
			field, has := in[*part.FieldName]
			return field, has
		}
	case []any:
		for _, item := range in {
			if isItem(item, part) {
				return item, true
			}
		}
	}
	return nil, false
}

// isItem reports whether an item of a list has the keys, or the value, by which the record names it.
func isItem(item any, part fieldpath.PathElement) bool {
	if part.Value != nil {
		return value.Equals(*part.Value, value.NewValueInterface(item))
	}
	fields, is := item.(map[string]any)
	if !is || part.Key == nil {
		return false
	}
	for _, key := range *part.Key {
		if !value.Equals(key.Value, value.NewValueInterface(fields[key.Name])) {
			return false
		}
	}
	return true
}
