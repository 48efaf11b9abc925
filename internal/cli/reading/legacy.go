package reading

import (
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/image-csi/image-csi-operator/internal/operator/migration"
)

// Release is a release of Helm.
type Release struct{ Namespace, Name string }

// Annotations with which Helm marks what it has installed.
const (
	releaseName      = "meta.helm.sh/release-name"
	releaseNamespace = "meta.helm.sh/release-namespace"
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
			if name := driver.Annotations[releaseName]; name != "" {
				release = Release{driver.Annotations[releaseNamespace], name}
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
