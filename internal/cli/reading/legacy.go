package reading

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/image-csi/image-csi-operator/internal/cli/handover"
	"github.com/image-csi/image-csi-operator/internal/operator/migration"
)

// Release is a release of Helm.
type Release struct{ Namespace, Name string }

// Annotations with which Helm marks what it has installed.
const (
	ReleaseName      = "meta.helm.sh/release-name"
	ReleaseNamespace = "meta.helm.sh/release-namespace"
)

// LegacyDriver returns what there is of the legacy driver, but for its values, and the Helm release that installed it, if one did. Gaps
// are what may not be read.
func (r *Reader) LegacyDriver(ctx context.Context) (found migration.Installation, release Release, gaps []string, err error) {
	var drivers storagev1.CSIDriverList
	if err := r.client.List(ctx, &drivers); apierrors.IsForbidden(err) {
		gaps = append(gaps, "CSIDriver objects, which name the legacy driver and its release")
	} else if err != nil {
		return found, release, gaps, fmt.Errorf("list the cluster's CSIDriver objects: %w", err)
	}
	for _, driver := range drivers.Items {
		if slices.Contains(migration.DriverNames(), driver.Name) {
			found.DriverNames = append(found.DriverNames, driver.Name)
			if name := driver.Annotations[ReleaseName]; name != "" {
				release = Release{driver.Annotations[ReleaseNamespace], name}
			}
		}
	}
	var nodes corev1.NodeList
	if err := r.client.List(ctx, &nodes, client.Limit(nodesLookedAt)); apierrors.IsForbidden(err) {
		gaps = append(gaps, "nodes, which decide the node classes")
	} else if err != nil {
		return found, release, gaps, fmt.Errorf("list the cluster's nodes: %w", err)
	}
	found.Nodes = nodes.Items
	return found, release, gaps, nil
}

// LegacyDaemonSets returns the cluster's DaemonSets that run the legacy driver, and as errors those that are told what it is told but
// have another image. One that is named, as namespace/name, may have any image; then it alone is returned.
func (r *Reader) LegacyDaemonSets(ctx context.Context, named string) (found []handover.LegacySet, doubtful []error, err error) {
	var sets appsv1.DaemonSetList
	if err := r.client.List(ctx, &sets); err != nil {
		return nil, nil, fmt.Errorf("list the cluster's DaemonSets, to find the legacy driver's: %w", err)
	}
	for i := range sets.Items {
		set := &sets.Items[i]
		name := set.Namespace + "/" + set.Name
		if named != "" && named != name {
			continue
		}
		names, err := migration.DriverNamesOf(set)
		switch {
		case err == nil, named != "" && errors.Is(err, migration.ErrOtherImage):
			found = append(found, handover.LegacySet{DaemonSet: set, Names: names})
		case named != "":
			return nil, nil, fmt.Errorf("DaemonSet %s: %w", name, err)
		case errors.Is(err, migration.ErrOtherImage):
			doubtful = append(doubtful, fmt.Errorf("DaemonSet %s: %w; if it runs the legacy driver, name it by --daemonset %s", name, err, name))
		}
	}
	if named != "" && len(found) == 0 {
		return nil, nil, fmt.Errorf("there is no DaemonSet %s; name it as NAMESPACE/NAME", named)
	}
	return found, doubtful, nil
}

// DaemonSetValues returns what a DaemonSet of the legacy driver is told, in the words of its chart's values. A gap is what may not be
// read; empty if there is none.
func (r *Reader) DaemonSetValues(ctx context.Context, set *appsv1.DaemonSet) (values map[string]any, gap string, err error) {
	account := &corev1.ServiceAccount{}
	name := cmp.Or(set.Spec.Template.Spec.ServiceAccountName, "default")
	err = r.client.Get(ctx, client.ObjectKey{Namespace: set.Namespace, Name: name}, account)
	switch {
	case apierrors.IsForbidden(err), apierrors.IsNotFound(err):
		return migration.ValuesOf(set, nil), fmt.Sprintf("service account %s/%s, whose secrets the legacy driver pulls with", set.Namespace, name), nil
	case err != nil:
		return nil, "", fmt.Errorf("read the service account %s/%s of the legacy driver: %w", set.Namespace, name, err)
	}
	return migration.ValuesOf(set, account), "", nil
}

// nodesLookedAt bounds what is read of large clusters.
const nodesLookedAt = 5000

// ReleaseValues returns the values of a deployed release of the legacy driver's chart.
func (r *Reader) ReleaseValues(ctx context.Context, release Release) (map[string]any, error) {
	var secrets corev1.SecretList
	labels := client.MatchingLabels{"owner": "helm", "name": release.Name, "status": "deployed"}
	if err := r.client.List(ctx, &secrets, client.InNamespace(release.Namespace), labels); err != nil {
		return nil, fmt.Errorf("read Helm release %s in namespace %s; without a right to its secrets give the values by --values: %w", release.Name, release.Namespace, err)
	}
	for _, secret := range secrets.Items {
		if secret.Type != migration.ReleaseType {
			continue
		}
		values, err := migration.ReadRelease(secret.Data[migration.ReleaseKey])
		if err != nil {
			return nil, fmt.Errorf("read Helm release %s in namespace %s: %w", release.Name, release.Namespace, err)
		}
		return values, nil
	}
	return nil, fmt.Errorf("there is no deployed Helm release %s in namespace %s; name it by --release and -n, or give its values by --values", release.Name, release.Namespace)
}
