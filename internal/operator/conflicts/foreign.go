package conflicts

import (
	"fmt"

	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/util/sets"

	"github.com/image-csi/image-csi-operator/api/v1alpha1"
	"github.com/image-csi/image-csi-operator/internal/contract"
	"github.com/image-csi/image-csi-operator/internal/operator/ownership"
)

// Foreign returns the names of the CSIDriver objects that this operator did not make: they have no driver's label, and the
// field owner has never applied them. The legacy driver's names are not among them, because a cluster migrates by taking
// these objects over.
func Foreign(objects []storagev1.CSIDriver, owner string) sets.Set[string] {
	out := sets.New[string]()
	for i := range objects {
		object := &objects[i]
		legacy := object.Name == contract.DefaultDriverName || object.Name == contract.LegacyEarlierDriverName
		if !legacy && object.Labels[contract.DriverLabel] == "" && !ownership.HasApplied(object, owner) {
			out.Insert(object.Name)
		}
	}
	return out
}

// checkForeign refuses a driver that has the name of a foreign CSIDriver object.
func (c Cluster) checkForeign(driver *v1alpha1.ImageCSIDriver) *Refusal {
	if c.Foreign.Has(driver.Name) {
		return foreign(driver.Name, "use another name for this driver")
	}
	for _, alias := range driver.Spec.Aliases {
		if c.Foreign.Has(string(alias)) {
			return foreign(string(alias), "take the name off spec.aliases")
		}
	}
	return nil
}

func foreign(name, instead string) *Refusal {
	return &Refusal{
		Reason: ReasonNameConflict,
		Message: fmt.Sprintf("The cluster has a CSIDriver object %s that this operator did not make. If another CSI driver uses it, %s; "+
			"if nothing does, delete the object. Until then nothing of this driver is changed.", name, instead),
	}
}
