package controllers

import (
	"reflect"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
	"sigs.k8s.io/structured-merge-diff/v6/value"
)

// holdsUntyped compares as holds does, without a schema. The server's record shows which items of a list are the operator's,
// because others may have added theirs.
func holdsUntyped(live, want *unstructured.Unstructured) bool {
	fields := want.DeepCopy().Object
	for _, identity := range [][]string{{"apiVersion"}, {"kind"}, {"metadata", "name"}, {"metadata", "namespace"}} {
		unstructured.RemoveNestedField(fields, identity...) // The server's record has no owner for these.
	}
	owned := appliedFields(live)
	return owned != nil && holdsOwned(live.Object, fields, owned)
}

// appliedFields are the fields that the operator has applied, by the server's record; nil if there is none.
func appliedFields(object metav1.Object) *fieldpath.Set {
	for _, entry := range object.GetManagedFields() {
		if entry.Manager != string(FieldOwner) || entry.Operation != metav1.ManagedFieldsOperationApply || entry.Subresource != "" || entry.FieldsV1 == nil {
			continue
		}
		fields := fieldpath.NewSet()
		if fields.FromJSON(entry.FieldsV1.GetRawReader()) == nil {
			return fields
		}
	}
	return nil
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

// isItem reports whether an item of a list has some keys, or a value.
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
