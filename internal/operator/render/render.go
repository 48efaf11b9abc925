package render

import (
	"slices"
	"strings"

	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/image-csi/image-csi-operator/api/v1alpha1"
	"github.com/image-csi/image-csi-operator/internal/operator/nodeclass"
	"github.com/image-csi/image-csi-operator/internal/operator/security"
)

// Object is a Kubernetes object of any kind.
type Object interface {
	metav1.Object
	runtime.Object
}

// Settings are the operator's own, the same for every driver.
type Settings struct {
	// Namespace in which the node plugins run.
	Namespace string
	// OperatorNamespace is the one in which the operator runs. It may be the same.
	OperatorNamespace string
	// NodePluginImage is used when a driver sets no image.
	NodePluginImage string
}

// Input is everything that the objects of a driver depend on.
type Input struct {
	// Driver with the API server's defaults filled in.
	Driver *v1alpha1.ImageCSIDriver
	// Names are the CSI driver names that it serves, its own first.
	Names []string
	// Classes that have nodes.
	Classes []nodeclass.Class
	// Unresolved are the names of classes that have nodes but that no table describes any more. What exists for
	// them stays as it is.
	Unresolved []string
	// Kinds are the optional kinds that the cluster has.
	Kinds []OptionalKind
	// Unclear are the optional kinds for which it is not known yet whether the cluster has them.
	Unclear []OptionalKind
	// Lacking are fields that the API server does not know.
	Lacking Lacking
	// Existing are the driver's objects in the cluster.
	Existing []Object
	// CSIDrivers are the cluster's, also those that are not the driver's yet.
	CSIDrivers []storagev1.CSIDriver
	// Settings are the operator's.
	Settings Settings
}

// Output is what the cluster should hold.
type Output struct {
	// Apply are the driver's objects, complete.
	Apply []Object
	// Delete are those of Input.Existing that the driver no longer has.
	Delete []Object
	// Seccomp is the state of the node plugin's own seccomp profile.
	Seccomp security.Seccomp
	// Costs are fields that the driver asks for and goes without, because the API server does not know them.
	Costs []ServedField
}

// Render returns the objects of a driver: a CSIDriver for each of its names, a service account, its rules for images, a
// DaemonSet for each class, one object of each optional kind, and the probe of sandboxes if it asks for them.
func Render(in Input) Output {
	apply := make([]Object, 0, len(in.Classes)+len(in.Names)+2)
	for _, name := range in.Names {
		apply = append(apply, csiDriver(in.Driver, name, in.CSIDrivers, in.Lacking))
	}
	apply = append(apply, serviceAccount(in.Driver, in.Settings), imageRules(in.Driver, in.Settings))
	classes := slices.Clone(in.Classes)
	slices.SortFunc(classes, func(a, b nodeclass.Class) int { return strings.Compare(a.Name, b.Name) })
	profile := seccomp(in)
	for _, class := range classes {
		object := daemonSet(in.Driver, in.Names, class, in.Settings, profile.File)
		object.Name = nameFor(in.Driver.Name, class.Name, in.Existing)
		apply = append(apply, object)
	}
	if in.Driver.Spec.NestedSandboxes != nil {
		apply = append(apply, sandboxProbe(in.Driver, in.Settings))
	}
	apply = append(apply, optional(in, apply)...)
	return Output{Apply: apply, Delete: surplus(in, apply), Seccomp: profile, Costs: costs(in)}
}

// Names returns the CSI driver names of a driver's spec, its own first and its aliases sorted.
func Names(driver *v1alpha1.ImageCSIDriver) []string {
	names := make([]string, 0, len(driver.Spec.Aliases)+1)
	for _, alias := range driver.Spec.Aliases {
		names = append(names, string(alias))
	}
	slices.Sort(names)
	return slices.Insert(names, 0, driver.Name)
}
