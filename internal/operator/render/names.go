package render

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"

	appsv1 "k8s.io/api/apps/v1"

	"github.com/image-csi/image-csi-operator/api/v1alpha1"
	"github.com/image-csi/image-csi-operator/internal/contract"
)

const (
	// maxName keeps names usable as label values, which Kubernetes makes of them in places.
	maxName = 63
	// hashDigits of a cut name's hash keep it apart from other names with the same start.
	hashDigits = 8
)

// Values of the recommended labels (Kubernetes documentation, "Recommended Labels").
const (
	nameLabel      = "app.kubernetes.io/name"
	componentLabel = "app.kubernetes.io/component"
	partOfLabel    = "app.kubernetes.io/part-of"

	// ManagedByLabel of what the operator applies has the operator's name.
	ManagedByLabel = "app.kubernetes.io/managed-by"

	appName   = "image-csi-node-plugin"
	component = "node-plugin"
	partOf    = "image-csi-operator"
)

// DaemonSetName returns the name of a driver's DaemonSet for a node class. No two pairs have the same: image.example.com with
// class x-containerd and image.example.com-x with class containerd would. A class has no dots, so of all drivers that could
// give one name, only one has no dash after its last dot; the others' names end with a dot and a hash of the pair, as no
// class can.
func DaemonSetName(driver, class string) string {
	if !strings.Contains(driver[strings.LastIndex(driver, ".")+1:], "-") {
		return plainName(driver, class)
	}
	name := driver + "-" + class
	sum := sha256.Sum256([]byte(driver + "/" + class))
	if most := maxName - hashDigits - 1; len(name) > most {
		name = strings.TrimRight(name[:most], "-.")
	}
	return name + "." + hex.EncodeToString(sum[:])[:hashDigits]
}

// plainName is what DaemonSets of all drivers were called by earlier releases.
func plainName(driver, class string) string { return bounded(driver + "-" + class) }

// nameFor returns the name of a DaemonSet among a driver's objects. One that has the name of an earlier release keeps it: under
// another, it would be another, and all its node plugins would be replaced at once.
func nameFor(driver, class string, existing []Object) string {
	plain := plainName(driver, class)
	for _, object := range existing {
		if _, is := object.(*appsv1.DaemonSet); is && object.GetName() == plain && object.GetLabels()[contract.NodeClassLabel] == class {
			return plain
		}
	}
	return DaemonSetName(driver, class)
}

// ServiceAccountName returns the name of a driver's service account.
func ServiceAccountName(driver string) string { return bounded(driver + "-node-plugin") }

// bounded cuts a name that is too long and ends it with its hash.
func bounded(name string) string {
	if len(name) <= maxName {
		return name
	}
	sum := sha256.Sum256([]byte(name))
	start := strings.TrimRight(name[:maxName-hashDigits-1], "-.")
	return start + "-" + hex.EncodeToString(sum[:])[:hashDigits]
}

// labels are on every object of a driver.
func labels(driver *v1alpha1.ImageCSIDriver) map[string]string {
	return map[string]string{
		nameLabel:            appName,
		componentLabel:       component,
		partOfLabel:          partOf,
		ManagedByLabel:       partOf,
		contract.DriverLabel: driver.Name,
	}
}

// classLabels are on everything of a driver that belongs to one node class.
func classLabels(driver *v1alpha1.ImageCSIDriver, class string) map[string]string {
	out := labels(driver)
	out[contract.NodeClassLabel] = class
	return out
}

// selector selects the pods of a DaemonSet. It cannot be changed, so it has only what makes the pods its own.
func selector(driver *v1alpha1.ImageCSIDriver, class string) map[string]string {
	return map[string]string{
		nameLabel:               appName,
		contract.DriverLabel:    driver.Name,
		contract.NodeClassLabel: class,
	}
}
