package controllers

import (
	"context"
	"maps"
	"slices"
	"time"

	storagev1 "k8s.io/api/storage/v1"

	"github.com/image-csi/image-csi-operator/api/v1alpha1"
	"github.com/image-csi/image-csi-operator/internal/operator/recheck"
)

// droppedAliases are names that a driver's spec has dropped.
type droppedAliases struct {
	// kept are those that the driver serves still, because pods use volumes by them, which nothing else could unmount.
	kept []string
	// users are pods that use any of them, by their nodes, and recheck is when to look for them again, or 0.
	users   map[string]string
	recheck time.Duration
}

// readAliases finds the names that a driver's spec has dropped, whose CSIDriver objects are still there, and who uses them.
func (r *ImageCSIDriverReconciler) readAliases(ctx context.Context, seen *snapshot) (droppedAliases, error) {
	out := droppedAliases{users: map[string]string{}}
	for _, name := range dropped(seen) {
		found, err := r.usersOf(ctx, seen.driver, []string{name})
		if err != nil {
			return droppedAliases{}, err
		}
		out.recheck = recheck.Sooner(out.recheck, found.next)
		maps.Copy(out.users, found.pods)
		if len(found.pods) > 0 && !ignores(seen.driver) {
			out.kept = append(out.kept, name)
		}
	}
	return out, nil
}

// dropped returns the names that the driver still has, although its spec has dropped them. If another driver wants one, it
// takes over the CSIDriver object.
func dropped(seen *snapshot) []string {
	if seen.driver.Spec.ManagementState == v1alpha1.Unmanaged || seen.refusal != nil {
		return nil
	}
	var out []string
	for _, object := range seen.objects {
		_, is := object.(*storagev1.CSIDriver)
		if is && !slices.Contains(seen.names, object.GetName()) {
			out = append(out, object.GetName())
		}
	}
	return out
}

// withAliases returns names with more aliases, sorted as render.Names sorts them: the driver's own name first.
func withAliases(names, more []string) []string {
	out := append(slices.Clone(names), more...)
	slices.Sort(out[1:])
	return out
}
