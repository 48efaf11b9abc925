package writing

import (
	"context"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/image-csi/image-csi-operator/api/v1alpha1"
)

// DeleteDriver has the API server delete an ImageCSIDriver as it was seen, and no other of its name. One that is being deleted, or gone, is
// no error. It is gone when the operator has removed it from the nodes.
func (w *Writer) DeleteDriver(ctx context.Context, driver *v1alpha1.ImageCSIDriver) error {
	if driver.DeletionTimestamp != nil {
		return nil
	}
	if err := w.client.Delete(ctx, driver.DeepCopy(), client.Preconditions{UID: &driver.UID}); err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("delete ImageCSIDriver %s: %w", driver.Name, err)
	}
	return nil
}
