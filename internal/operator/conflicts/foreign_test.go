package conflicts

import (
	"slices"
	"strings"
	"testing"

	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"

	"github.com/image-csi/image-csi-operator/api/v1alpha1"
	"github.com/image-csi/image-csi-operator/internal/contract"
)

func TestForeign(t *testing.T) {
	object := func(name, driver string, managers ...string) storagev1.CSIDriver {
		out := storagev1.CSIDriver{ObjectMeta: metav1.ObjectMeta{Name: name}}
		if driver != "" {
			out.Labels = map[string]string{contract.DriverLabel: driver}
		}
		for _, manager := range managers {
			out.ManagedFields = append(out.ManagedFields, metav1.ManagedFieldsEntry{Manager: manager, Operation: metav1.ManagedFieldsOperationApply})
		}
		return out
	}
	got := Foreign([]storagev1.CSIDriver{
		object("another.example.com", ""),
		object("applied.example.com", "", "helm"),
		object("labelled.example.com", "labelled.example.com"),
		object("unlabelled.example.com", "", "helm", "us"),
		object("container-image.csi.k8s.io", ""),
		object("csi-image.warm-metal.tech", ""),
	}, "us")
	if want := sets.New("another.example.com", "applied.example.com"); !got.Equal(want) {
		t.Errorf("got %v, want %v", sets.List(got), sets.List(want))
	}
}

func TestNoDriverMayHaveTheNameOfAForeignCSIDriver(t *testing.T) {
	named, aliased, other := driver("x", 3), driver("a", 2, "x"), driver("b", 1)
	all := Cluster{Drivers: []v1alpha1.ImageCSIDriver{named, aliased, other}, Foreign: sets.New("x")}
	for _, refused := range []v1alpha1.ImageCSIDriver{named, aliased} {
		got := all.Check(&refused)
		if got == nil || got.Reason != ReasonNameConflict || !strings.Contains(got.Message, "CSIDriver object x") {
			t.Errorf("%s: got %+v", refused.Name, got)
		}
	}
	if got := names(all.Placing()); !slices.Equal(got, []string{"b"}) {
		t.Errorf("placing: %v", got)
	}
}
