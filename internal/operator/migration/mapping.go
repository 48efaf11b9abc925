package migration

import (
	"encoding/json"
	"fmt"
	"slices"

	"github.com/image-csi/image-csi-operator/api/v1alpha1"
	"github.com/image-csi/image-csi-operator/internal/operator/nodeclass"
)

// mapping is a plan that is being made.
type mapping struct {
	from   Installation
	driver *v1alpha1.ImageCSIDriver
	notes  []Note
	// engine is the container runtime that the installation is for.
	engine v1alpha1.Runtime
	socket string
}

func (m *mapping) note(kind Kind, value, format string, args ...any) {
	m.notes = append(m.notes, Note{Kind: kind, Value: value, Text: fmt.Sprintf(format, args...)})
}

// classes returns the node classes for which the installation's settings of a runtime are: those of the nodes, and without nodes
// the first whose runtime listens at the installation's socket.
func (m *mapping) classes() []nodeclass.Class {
	table := nodeclass.NewTable(nil)
	var found []nodeclass.Class
	for i := range m.from.Nodes {
		class, err := table.Class(&m.from.Nodes[i])
		if err == nil && class.Runtime == m.engine && !slices.ContainsFunc(found, func(c nodeclass.Class) bool { return c.Name == class.Name }) {
			found = append(found, class)
		}
	}
	if len(found) > 0 {
		slices.SortFunc(found, func(a, b nodeclass.Class) int { return compare(a.Name, b.Name) })
		return found
	}
	common := map[v1alpha1.Runtime]string{runtimeContainerd: nodeclass.Containerd, runtimeCRIO: nodeclass.CRIO}[m.engine]
	for _, name := range []string{common, nodeclass.K3s, nodeclass.K0s, nodeclass.MicroK8s} {
		if class, known := table.Lookup(name); known && class.Runtime == m.engine && class.RuntimeEndpoint == m.socket {
			return []nodeclass.Class{class}
		}
	}
	class, _ := table.Lookup(common)
	return []nodeclass.Class{class}
}

// inClasses changes the driver's entry of each node class of the installation, and says which they are.
func (m *mapping) inClasses(value, field string, edit func(*v1alpha1.NodeClass)) {
	for _, class := range m.classes() {
		at := slices.IndexFunc(m.driver.Spec.NodeClasses, func(c v1alpha1.NodeClass) bool { return c.Name == class.Name })
		if at < 0 {
			at = len(m.driver.Spec.NodeClasses)
			m.driver.Spec.NodeClasses = append(m.driver.Spec.NodeClasses, v1alpha1.NodeClass{Name: class.Name})
		}
		edit(&m.driver.Spec.NodeClasses[at])
		m.note(Mapped, value, "spec.nodeClasses[%s].%s", class.Name, field)
	}
	if len(m.from.Nodes) == 0 {
		m.note(Action, value, "the nodes were not looked at; if they are of other classes (kubectl get nodes -L imagecsi.dev/node-class, once the operator has "+
			"a driver), set spec.nodeClasses[].%s of those instead", field)
	}
}

// path puts a directory or socket of the nodes into their classes, unless it is where a class has it anyway.
func (m *mapping) path(value, field, given string, builtin func(nodeclass.Class) string, set func(*v1alpha1.NodeClass)) {
	if slices.ContainsFunc(m.classes(), func(c nodeclass.Class) bool { return builtin(c) == given }) {
		m.note(Unneeded, value, "%s is what the operator expects on these nodes", given)
		return
	}
	m.inClasses(value, field, set)
}

// as converts a value to a type, and notes one that cannot be.
func as[T any](m *mapping, path string, value any) (out T, is bool) {
	text, err := json.Marshal(value)
	if err == nil {
		err = json.Unmarshal(text, &out)
	}
	if err != nil {
		m.note(Unmatched, path, "cannot be read as it is, %v; write the field yourself", err)
		return out, false
	}
	return out, true
}
