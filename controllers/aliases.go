package controllers

import (
	"context"
	"maps"
	"slices"

	storagev1 "k8s.io/api/storage/v1"

	"github.com/image-csi/image-csi-operator/api/v1alpha1"
	"github.com/image-csi/image-csi-operator/internal/operator/render"
)

// keepAliases keeps names that the spec has dropped while pods use volumes by them, because nothing else could unmount
// those. Their CSIDriver objects show which names these are. It records the pods by their nodes.
func (r *ImageCSIDriverReconciler) keepAliases(ctx context.Context, seen *observation) error {
	for _, name := range dropped(seen) {
		users, _, err := r.usersOf(ctx, seen, []string{name})
		if err != nil {
			return err
		}
		if len(users) == 0 {
			continue
		}
		if seen.byAlias == nil {
			seen.byAlias = map[string]string{}
		}
		maps.Copy(seen.byAlias, users)
		if !ignores(seen.Driver) {
			seen.Driver.Spec.Aliases = append(seen.Driver.Spec.Aliases, v1alpha1.DriverName(name))
			seen.Names = render.Names(seen.Driver)
		}
	}
	return nil
}

// dropped returns the names that the driver still has, although its spec has dropped them. If another driver wants one, it
// takes over the CSIDriver object.
func dropped(seen *observation) []string {
	if seen.Driver.Spec.ManagementState == v1alpha1.Unmanaged || seen.Refusal != nil {
		return nil
	}
	var out []string
	for _, object := range seen.existing {
		_, is := object.(*storagev1.CSIDriver)
		if is && !slices.Contains(seen.Names, object.GetName()) {
			out = append(out, object.GetName())
		}
	}
	return out
}

// markAliasUsers records the pods that keepAliases has found.
func (r *ImageCSIDriverReconciler) markAliasUsers(seen *observation) {
	if len(seen.byAlias) == 0 {
		return
	}
	r.everyNode(seen)
	seen.mark(seen.byAlias)
}

// mark records pods that use volumes of the driver, by their nodes.
func (o *observation) mark(users map[string]string) {
	for i := range o.Nodes {
		if node := &o.Nodes[i]; ignores(o.Driver) {
			node.Ignored = users[node.Name]
		} else {
			node.UsedBy = users[node.Name]
		}
	}
}
