package nodeclass

import (
	"errors"

	corev1 "k8s.io/api/core/v1"

	"github.com/image-csi/image-csi-operator/api/v1alpha1"
	"github.com/image-csi/image-csi-operator/internal/contract"
)

// Table finds the class of a node.
type Table struct {
	rules []rule
}

// NewTable returns the built-in table with an ImageCSIDriver's spec.nodeClasses worked in: a class with a built-in
// name changes that class in its place, any other comes before the built-in ones, in the order given. The API server
// has checked that an added class is complete.
func NewTable(custom []v1alpha1.NodeClass) Table {
	table := builtins()
	var added []rule
	for i := range custom {
		if at := find(table, custom[i].Name); at >= 0 {
			table[at] = override(table[at], custom[i])
			continue
		}
		added = append(added, add(custom[i]))
	}
	return Table{rules: append(added, table...)}
}

// Class returns the class of a node. Missing information changes nothing: a node keeps the class in its label unless something
// that it reports contradicts that class. The error is an *Unsupported if the node can have no class, and an *Unknown if it keeps
// its class although its runtime does not answer.
func (t Table) Class(node *corev1.Node) (Class, error) {
	has := node.Labels[contract.NodeClassLabel]
	runtime, err := supportedRuntime(node)
	var unknown *Unknown
	if errors.As(err, &unknown) && (has == "" || !t.mayHave(has, runtime)) {
		return Class{}, unknown.unsupported()
	}
	if err != nil {
		return Class{}, err
	}
	for _, r := range t.rules {
		switch r.fits(runtime, node) {
		case yes:
			return r.class, nil
		case maybe:
			if r.class.Name == has {
				return r.class, nil
			}
		}
	}
	return Class{}, unmatched(runtime)
}

// mayHave reports whether a node can have a class if only its runtime's name is known, or not even that.
func (t Table) mayHave(name string, runtime RuntimeVersion) bool {
	class, found := t.Lookup(name)
	return !found || runtime.Name == "" || runtime.Name == string(class.Runtime)
}

// Names returns the names of the built-in classes, in the table's order.
func Names() []string {
	var names []string
	for _, r := range builtins() {
		names = append(names, r.class.Name)
	}
	return names
}

// Lookup returns the class with a name, and whether the table has one.
func (t Table) Lookup(name string) (Class, bool) {
	if at := find(t.rules, name); at >= 0 {
		return t.rules[at].class, true
	}
	return Class{}, false
}

func find(rules []rule, name string) int {
	for i := range rules {
		if rules[i].class.Name == name {
			return i
		}
	}
	return -1
}

func override(base rule, in v1alpha1.NodeClass) rule {
	if in.Match != nil {
		base.anyOf = []match{customMatch(*in.Match)}
	}
	base.class = change(base.class, in)
	return base
}

func add(in v1alpha1.NodeClass) rule {
	var m v1alpha1.NodeMatch
	if in.Match != nil {
		m = *in.Match
	}
	class := change(builtin(in.Name, m.Runtime), in)
	class.Policy = policyOf(customMatch(m))
	return rule{class: class, anyOf: []match{customMatch(m)}}
}

// change sets in a class what the administrator has set.
func change(class Class, in v1alpha1.NodeClass) Class {
	if in.MountMode != "" {
		class.MountMode = in.MountMode
	}
	if in.RuntimeEndpoint != "" {
		class.RuntimeEndpoint = in.RuntimeEndpoint
	}
	if in.KubeletRoot != "" {
		class.KubeletRoot = string(in.KubeletRoot)
	}
	if in.StorageRoot != "" {
		class.StorageRoot = string(in.StorageRoot)
	}
	if in.RunRoot != "" && class.Runtime == contract.RuntimeCRIO {
		class.RunRoot = string(in.RunRoot)
	}
	if in.Network != "" {
		class.Network = in.Network
	}
	if in.Confinement != nil {
		class.Confinement = *in.Confinement
	}
	return class
}
