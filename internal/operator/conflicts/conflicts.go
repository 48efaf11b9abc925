package conflicts

import (
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/sets"

	"github.com/image-csi/image-csi-operator/api/v1alpha1"
	"github.com/image-csi/image-csi-operator/internal/contract"
)

// Reasons of a refusal.
const (
	ReasonNameConflict      = "NameConflict"
	ReasonPlacementConflict = "PlacementConflict"
)

// Refusal says why a driver is not reconciled, in words for the cluster's administrator.
type Refusal struct {
	// Reason is ReasonNameConflict or ReasonPlacementConflict.
	Reason string
	// Message names the other driver and says what to do.
	Message string
}

// Cluster is everything that may conflict.
type Cluster struct {
	// Drivers are all of the cluster's.
	Drivers []v1alpha1.ImageCSIDriver
	// Foreign are the names of CSIDriver objects that this operator did not make.
	Foreign sets.Set[string]
}

// Check returns why a driver is refused; nil if it is not. No driver may have the name of a foreign CSIDriver object.
// An object's own name takes precedence over another's alias; between equals, the older object wins. A refused driver keeps
// what it has running.
func (c Cluster) Check(driver *v1alpha1.ImageCSIDriver) *Refusal {
	if refusal := c.checkForeign(driver); refusal != nil {
		return refusal
	}
	others := c.rivals(driver)
	for i := range others {
		if refusal := checkNames(driver, &others[i]); refusal != nil {
			return refusal
		}
	}
	for i := range others {
		if refusal := c.checkPlacement(driver, &others[i]); refusal != nil {
			return refusal
		}
	}
	return nil
}

// rivals returns the other drivers that may conflict, oldest first: all but those that are removed completely.
func (c Cluster) rivals(driver *v1alpha1.ImageCSIDriver) []v1alpha1.ImageCSIDriver {
	var out []v1alpha1.ImageCSIDriver
	for i := range c.Drivers {
		if other := &c.Drivers[i]; other.Name != driver.Name && !Gone(other) {
			out = append(out, *other)
		}
	}
	slices.SortFunc(out, func(a, b v1alpha1.ImageCSIDriver) int {
		if older(&a, &b) {
			return -1
		}
		return 1
	})
	return out
}

// Gone reports whether a driver is removed completely.
func Gone(driver *v1alpha1.ImageCSIDriver) bool {
	return Leaving(driver) && !slices.Contains(driver.Finalizers, contract.Finalizer)
}

// Leaving reports whether a driver is to be removed.
func Leaving(driver *v1alpha1.ImageCSIDriver) bool {
	return !driver.DeletionTimestamp.IsZero() || driver.Spec.ManagementState == v1alpha1.Removed
}

func older(a, b *v1alpha1.ImageCSIDriver) bool {
	if a.CreationTimestamp.Equal(&b.CreationTimestamp) {
		return a.Name < b.Name
	}
	return a.CreationTimestamp.Before(&b.CreationTimestamp)
}

func checkNames(driver, other *v1alpha1.ImageCSIDriver) *Refusal {
	for _, alias := range driver.Spec.Aliases {
		if string(alias) == other.Name {
			return taken("alias "+other.Name, "the name", other)
		}
		if slices.Contains(other.Spec.Aliases, alias) && older(other, driver) {
			return taken("alias "+string(alias), "an alias", other)
		}
	}
	return nil
}

// IsTaken reports whether another driver, or a foreign CSIDriver object, has one of a driver's names and takes precedence.
func (c Cluster) IsTaken(driver *v1alpha1.ImageCSIDriver, name string) bool {
	only := driver.DeepCopy()
	only.Spec.Aliases = []v1alpha1.DriverName{v1alpha1.DriverName(name)}
	return c.Foreign.Has(name) || (name != driver.Name &&
		slices.ContainsFunc(c.rivals(driver), func(other v1alpha1.ImageCSIDriver) bool { return checkNames(only, &other) != nil }))
}

func taken(what, as string, other *v1alpha1.ImageCSIDriver) *Refusal {
	return &Refusal{
		Reason: ReasonNameConflict,
		Message: fmt.Sprintf("The %s is %s of the ImageCSIDriver %s already. Remove it from one of the two objects; "+
			"until then nothing of this driver is changed.", what, as, other.Name),
	}
}

// checkPlacement compares with the drivers that place node plugins. One that is refused itself places none.
func (c Cluster) checkPlacement(driver, other *v1alpha1.ImageCSIDriver) *Refusal {
	if !older(other, driver) || samePlacement(driver, other) || !c.places(other) {
		return nil
	}
	return &Refusal{
		Reason: ReasonPlacementConflict,
		Message: fmt.Sprintf("spec.nodeClasses, spec.nodePlugin.nodeSelector or nodeSelectorTerms differs from that of the older ImageCSIDriver %s, "+
			"but a node has one class for all drivers. Give both objects the same values; until then nothing of this driver is changed.", other.Name),
	}
}

func samePlacement(a, b *v1alpha1.ImageCSIDriver) bool {
	return equality.Semantic.DeepEqual(a.Spec.NodeClasses, b.Spec.NodeClasses) &&
		equality.Semantic.DeepEqual(a.Spec.NodePlugin.NodeSelector, b.Spec.NodePlugin.NodeSelector) &&
		equality.Semantic.DeepEqual(a.Spec.NodePlugin.NodeSelectorTerms, b.Spec.NodePlugin.NodeSelectorTerms)
}

// places reports whether a driver is managed and not refused. It looks at older drivers only, so the recursion ends.
func (c Cluster) places(driver *v1alpha1.ImageCSIDriver) bool {
	return driver.Spec.ManagementState != v1alpha1.Unmanaged && !Leaving(driver) && c.Check(driver) == nil
}

// Placing returns the drivers that decide the classes of nodes: managed, staying, and not refused. They agree with
// each other.
func (c Cluster) Placing() []v1alpha1.ImageCSIDriver {
	var out []v1alpha1.ImageCSIDriver
	for i := range c.Drivers {
		if c.places(&c.Drivers[i]) {
			out = append(out, c.Drivers[i])
		}
	}
	return out
}

// Holding returns the drivers that have node plugins to keep in place, but do not decide the classes of nodes:
// unmanaged, refused, or on their way out.
func (c Cluster) Holding() []v1alpha1.ImageCSIDriver {
	var out []v1alpha1.ImageCSIDriver
	for i := range c.Drivers {
		if driver := &c.Drivers[i]; !c.places(driver) && !Gone(driver) {
			out = append(out, *driver)
		}
	}
	return out
}
