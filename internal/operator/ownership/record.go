package ownership

import (
	"iter"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
)

// Applied returns the fields that an owner has applied to an object; nil if it has applied none.
func Applied(object metav1.Object, owner string) *fieldpath.Set {
	for entry, fields := range records(object) {
		if isApplied(entry, owner) {
			return fields
		}
	}
	return nil
}

// HasApplied reports whether an owner has applied an object, also where the record of what it applied cannot be read.
func HasApplied(object metav1.Object, owner string) bool {
	return slices.ContainsFunc(object.GetManagedFields(), func(entry metav1.ManagedFieldsEntry) bool { return isApplied(entry, owner) })
}

// Writers returns who owns a field of an object, however they wrote it, in the record's order.
func Writers(object metav1.Object, field fieldpath.Path) []string {
	var out []string
	for entry, fields := range records(object) {
		if fields.Has(field) {
			out = append(out, entry.Manager)
		}
	}
	return out
}

// Others returns who, besides an owner's applying, owns any of the fields, sorted. Those of a subresource, such as the status,
// do not count.
func Others(object metav1.Object, owner string, fields *fieldpath.Set) []string {
	out := sets.New[string]()
	for entry, owned := range records(object) {
		if entry.Subresource == "" && !isApplied(entry, owner) && !owned.Intersection(fields).Empty() {
			out.Insert(entry.Manager)
		}
	}
	return sets.List(out)
}

func isApplied(entry metav1.ManagedFieldsEntry, owner string) bool {
	return entry.Manager == owner && entry.Operation == metav1.ManagedFieldsOperationApply && entry.Subresource == ""
}

// records are the entries of an object's record that can be read.
func records(object metav1.Object) iter.Seq2[metav1.ManagedFieldsEntry, *fieldpath.Set] {
	return func(yield func(metav1.ManagedFieldsEntry, *fieldpath.Set) bool) {
		for _, entry := range object.GetManagedFields() {
			fields := fieldpath.NewSet()
			if entry.FieldsV1 == nil || fields.FromJSON(entry.FieldsV1.GetRawReader()) != nil {
				continue
			}
			if !yield(entry, fields) {
				return
			}
		}
	}
}
