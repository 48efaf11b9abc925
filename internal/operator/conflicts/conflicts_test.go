package conflicts

import (
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"

	"github.com/image-csi/image-csi-operator/api/v1alpha1"
	"github.com/image-csi/image-csi-operator/internal/contract"
)

// driver returns a managed driver of an age in minutes.
func driver(name string, age int, aliases ...v1alpha1.DriverName) v1alpha1.ImageCSIDriver {
	return v1alpha1.ImageCSIDriver{
		ObjectMeta: metav1.ObjectMeta{
			Name:              name,
			Finalizers:        []string{contract.Finalizer},
			CreationTimestamp: metav1.NewTime(time.Unix(100_000, 0).Add(-time.Duration(age) * time.Minute)),
		},
		Spec: v1alpha1.ImageCSIDriverSpec{ManagementState: v1alpha1.Managed, Aliases: aliases},
	}
}

func with(d v1alpha1.ImageCSIDriver, edit func(*v1alpha1.ImageCSIDriver)) v1alpha1.ImageCSIDriver {
	edit(&d)
	return d
}

func classes(names ...string) func(*v1alpha1.ImageCSIDriver) {
	return func(d *v1alpha1.ImageCSIDriver) {
		for _, name := range names {
			d.Spec.NodeClasses = append(d.Spec.NodeClasses, v1alpha1.NodeClass{Name: name, KubeletRoot: "/data"})
		}
	}
}

func removed(d *v1alpha1.ImageCSIDriver) { d.Spec.ManagementState = v1alpha1.Removed }

func removedWhole(d *v1alpha1.ImageCSIDriver) { removed(d); d.Finalizers = nil }

func TestCheck(t *testing.T) {
	tests := map[string]struct {
		driver v1alpha1.ImageCSIDriver
		other  v1alpha1.ImageCSIDriver
		want   string
	}{
		"nothing shared":                      {driver("a", 1, "x"), driver("b", 2, "y"), ""},
		"alias is the other's name":           {driver("a", 2, "b"), driver("b", 1), ReasonNameConflict},
		"name is the other's alias":           {driver("a", 1), driver("b", 2, "a"), ""},
		"alias of both, the other is older":   {driver("a", 1, "x"), driver("b", 2, "x"), ReasonNameConflict},
		"alias of both, the other is younger": {driver("a", 2, "x"), driver("b", 1, "x"), ""},
		"alias of both, same age":             {driver("b", 1, "x"), driver("a", 1, "x"), ReasonNameConflict},
		"the other is on its way out":         {driver("a", 1, "x"), with(driver("b", 2, "x"), removed), ReasonNameConflict},
		"the other is gone":                   {driver("a", 1, "x"), with(driver("b", 2, "x"), removedWhole), ""},
		"same classes":                        {with(driver("a", 1), classes("crio")), with(driver("b", 2), classes("crio")), ""},
		"other classes, the other is older":   {driver("a", 1), with(driver("b", 2), classes("crio")), ReasonPlacementConflict},
		"other classes, the other is younger": {driver("a", 2), with(driver("b", 1), classes("crio")), ""},
		"other classes, the other is leaving": {driver("a", 1), with(with(driver("b", 2), classes("crio")), removed), ""},
		"other selector": {driver("a", 1), with(driver("b", 2), func(d *v1alpha1.ImageCSIDriver) {
			d.Spec.NodePlugin.NodeSelector = map[string]v1alpha1.LabelValue{"pool": "x"}
		}), ReasonPlacementConflict},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got := Cluster{Drivers: []v1alpha1.ImageCSIDriver{test.driver, test.other}}.Check(&test.driver)
			switch {
			case test.want == "" && got != nil:
				t.Errorf("refused: %+v", got)
			case test.want != "" && (got == nil || got.Reason != test.want):
				t.Errorf("got %+v, want %s", got, test.want)
			case got != nil && !strings.Contains(got.Message, "ImageCSIDriver "+test.other.Name):
				t.Errorf("message %q does not name the other driver", got.Message)
			}
		})
	}
}

func TestARefusedDriverRefusesNoOther(t *testing.T) {
	oldest := driver("a", 3)
	refused := with(driver("b", 2), classes("crio"))
	youngest := driver("c", 1)
	all := []v1alpha1.ImageCSIDriver{youngest, refused, oldest}
	if got := (Cluster{Drivers: all}).Check(&youngest); got != nil {
		t.Errorf("the youngest agrees with the oldest, but: %+v", got)
	}
	if got := names((Cluster{Drivers: all}).Placing()); !slices.Equal(got, []string{"c", "a"}) {
		t.Errorf("placing: %q", got)
	}
	if got := names((Cluster{Drivers: all}).Holding()); !slices.Equal(got, []string{"b"}) {
		t.Errorf("holding: %q", got)
	}
}

func TestHoldersAreThoseWithSomethingLeft(t *testing.T) {
	all := []v1alpha1.ImageCSIDriver{
		driver("managed", 1),
		with(driver("leaving", 1), removed),
		with(driver("gone", 1), removedWhole),
		with(driver("unmanaged", 1), func(d *v1alpha1.ImageCSIDriver) { d.Spec.ManagementState = v1alpha1.Unmanaged }),
	}
	if got := names((Cluster{Drivers: all}).Holding()); !slices.Equal(got, []string{"leaving", "unmanaged"}) {
		t.Errorf("holding: %q", got)
	}
}

func names(drivers []v1alpha1.ImageCSIDriver) []string {
	var out []string
	for i := range drivers {
		out = append(out, drivers[i].Name)
	}
	return out
}

func TestANameIsTakenByTheDriverThatTakesPrecedence(t *testing.T) {
	mine := driver("a", 1, "own", "b", "older", "younger", "foreign", "gone")
	all := Cluster{Foreign: sets.New("foreign"), Drivers: []v1alpha1.ImageCSIDriver{
		mine, driver("b", 0, "a"), driver("c", 2, "older"), driver("d", 0, "younger"), with(driver("e", 2, "gone"), removedWhole),
	}}
	for name, want := range map[string]bool{"a": false, "own": false, "b": true, "older": true, "younger": false, "foreign": true, "gone": false} {
		if got := all.IsTaken(&mine, name); got != want {
			t.Errorf("%s is taken: %t, want %t", name, got, want)
		}
	}
}
