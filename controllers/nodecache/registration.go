package nodecache

import (
	"slices"

	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
)

// registration has the names of the drivers that a node's kubelet has registered, and the UID of that node if the CSINode
// has it.
type registration struct {
	metadata
	owner   types.UID
	drivers []string
}

// nodeKind is the kind of nodes in owner references.
const nodeKind = "Node"

// TrimCSINode is the transform of the informer of CSINodes. It returns other objects unchanged.
func TrimCSINode(object any) (any, error) {
	in, is := object.(*storagev1.CSINode)
	if !is {
		return object, nil
	}
	out := &registration{metadata: identity(in.ObjectMeta)}
	out.UID = ""
	for _, owner := range in.OwnerReferences {
		if owner.Kind == nodeKind {
			out.owner = owner.UID
		}
	}
	for _, driver := range in.Spec.Drivers {
		out.drivers = append(out.drivers, interned(driver.Name))
	}
	return out, nil
}

// on returns the drivers that a node's kubelet has registered. The CSINode of an earlier node of the same name stays until
// the garbage collector deletes it, and says nothing about this node.
func (r *registration) on(n *node) sets.Set[string] {
	if r == nil || (r.owner != "" && r.owner != n.UID) {
		return nil
	}
	return sets.New(r.drivers...)
}

func (r *registration) nodeName() string { return r.Name }
func (r *registration) in(p *entry)      { p.registration = r }
func (r *registration) out(p *entry)     { p.registration = nil }

func (r *registration) same(before fact) bool {
	other, is := before.(*registration)
	return is && slices.Equal(r.drivers, other.drivers) && r.owner == other.owner
}

// DeepCopyObject implements runtime.Object.
func (r *registration) DeepCopyObject() runtime.Object {
	out := *r
	return &out
}
