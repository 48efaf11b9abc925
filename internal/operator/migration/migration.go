package migration

import (
	"cmp"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"

	"github.com/image-csi/image-csi-operator/api/v1alpha1"
	"github.com/image-csi/image-csi-operator/internal/contract"
)

// Installation is what there is of the legacy driver.
type Installation struct {
	// Values are those of the release: the chart's own, with the user's over them.
	Values map[string]any
	// Namespace is that of the release.
	Namespace string
	// DriverNames are the names of the legacy driver's CSIDriver objects.
	DriverNames []string
	// Nodes are those of the cluster. They decide which node classes a value is for; without them it is for the most common one.
	Nodes []corev1.Node
}

// Kind is what becomes of a value.
type Kind string

// What becomes of values, in the order in which a person reads them.
const (
	// Action is something to do before the driver is applied.
	Action Kind = "do"
	// Unmatched has no equal.
	Unmatched Kind = "no equal"
	// Changed works in another way than before.
	Changed Kind = "changes"
	// Mapped became a field.
	Mapped Kind = "becomes"
	// Unneeded has no purpose any more.
	Unneeded Kind = "not needed"
)

// Note says what becomes of one value.
type Note struct {
	Kind Kind
	// Value is its path in the chart's values; empty if the note is about the driver as a whole.
	Value string
	Text  string
}

// String is the note as one line.
func (n Note) String() string {
	if n.Value == "" {
		return fmt.Sprintf("%s: %s", n.Kind, n.Text)
	}
	return fmt.Sprintf("%s: %s: %s", n.Kind, n.Value, n.Text)
}

// Plan is what an installation becomes.
type Plan struct {
	Driver *v1alpha1.ImageCSIDriver
	// Notes are sorted by kind, what needs action first.
	Notes []Note
}

// PlanOf returns the ImageCSIDriver that serves the pods of an installation as before, and a note for each of its values.
func PlanOf(from Installation) Plan {
	m := &mapping{from: from, engine: runtimeContainerd, driver: &v1alpha1.ImageCSIDriver{
		TypeMeta: metav1.TypeMeta{APIVersion: v1alpha1.GroupVersion.String(), Kind: "ImageCSIDriver"},
	}}
	m.name()
	rest := from.Values
	for _, rule := range rules() {
		var value any
		if value, rest = take(rest, rule.value); value != nil {
			rule.apply(m, rule.value, value)
		}
	}
	for _, path := range paths(rest) {
		m.note(Unmatched, path, "is not a value of the charts 2.0 and 2.1 that is known here; look up what it does")
	}
	m.asAWhole()
	order := []Kind{Action, Unmatched, Changed, Mapped, Unneeded}
	slices.SortStableFunc(m.notes, func(a, b Note) int {
		return cmp.Or(slices.Index(order, a.Kind)-slices.Index(order, b.Kind), cmp.Compare(a.Value, b.Value))
	})
	return Plan{Driver: m.driver, Notes: m.notes}
}

// legacyName is the driver's name of releases before 2.0.
const legacyName = "csi-image.warm-metal.tech"

// DriverNames returns the names that releases of the legacy driver have.
func DriverNames() []string { return []string{contract.DefaultDriverName, legacyName} }

// name gives the driver the names under which pods and volumes know the installation.
func (m *mapping) name() {
	names := slices.Compact(slices.Sorted(slices.Values(m.from.DriverNames)))
	if len(names) == 0 {
		names = []string{contract.DefaultDriverName}
	}
	m.driver.Name = names[0]
	for _, alias := range names[1:] {
		m.driver.Spec.Aliases = append(m.driver.Spec.Aliases, v1alpha1.DriverName(alias))
	}
	if !slices.Contains(names, legacyName) {
		m.note(Changed, "", "pods and volumes that still have the name "+legacyName+", of releases before 2.0, are served with spec.aliases: ["+legacyName+"]")
	}
}

// YAML is the driver as a manifest, without what only a cluster sets.
func (p Plan) YAML() ([]byte, error) {
	object, err := runtime.DefaultUnstructuredConverter.ToUnstructured(p.Driver)
	if err != nil {
		return nil, fmt.Errorf("writing ImageCSIDriver %s: %w", p.Driver.Name, err)
	}
	delete(object, "status")
	object["metadata"] = map[string]any{"name": p.Driver.Name}
	if object["spec"] == nil {
		object["spec"] = map[string]any{}
	}
	return yaml.Marshal(object)
}
