package provision

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"strings"

	"github.com/distribution/reference"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/image-csi/image-csi-operator/internal/contract"
)

// Parameters of a StorageClass that are not attributes of its volumes. The two for the secret are the external
// provisioner's, as every CSI driver has them.
const (
	reservedParameters       = "csi.storage.k8s.io/"
	secretNameParameter      = reservedParameters + "node-publish-secret-name"
	secretNamespaceParameter = reservedParameters + "node-publish-secret-namespace"
)

// DefaultSize is the capacity of a volume whose claim asks for none. An image has the size it has; the number only
// lets the claim bind.
const DefaultSize = "1Gi"

// Volume returns the PersistentVolume with a name for a claim and its class. Its handle is its name, so that two claims
// of one image are two volumes. The image is the claim's annotation contract.ImageAnnotation, else the class's parameter
// "image"; the class's other parameters become volume attributes. An error is a sentence for the claim's owner.
func Volume(name string, claim *corev1.PersistentVolumeClaim, class *storagev1.StorageClass) (*corev1.PersistentVolume, error) {
	image, err := imageOf(claim, class)
	if err != nil {
		return nil, err
	}
	if err := checkAccess(claim); err != nil {
		return nil, err
	}
	if err := contract.CheckMountOptions(class.MountOptions, false); err != nil {
		return nil, fmt.Errorf("StorageClass %s: %w", class.Name, err)
	}
	secret, err := secretOf(name, claim, class)
	if err != nil {
		return nil, err
	}
	attributes := maps.Clone(class.Parameters)
	if attributes == nil {
		attributes = map[string]string{}
	}
	maps.DeleteFunc(attributes, func(key, _ string) bool { return strings.HasPrefix(key, reservedParameters) })
	delete(attributes, contract.VolumeHandleAttribute) // would win over the image
	attributes[contract.ImageAttribute] = image
	volume := &corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: corev1.PersistentVolumeSpec{
			AccessModes:  claim.Spec.AccessModes,
			Capacity:     corev1.ResourceList{corev1.ResourceStorage: sizeOf(claim)},
			MountOptions: class.MountOptions,
			VolumeMode:   claim.Spec.VolumeMode,
			PersistentVolumeSource: corev1.PersistentVolumeSource{CSI: &corev1.CSIPersistentVolumeSource{
				Driver:               class.Provisioner,
				VolumeHandle:         name,
				ReadOnly:             true,
				VolumeAttributes:     attributes,
				NodePublishSecretRef: secret,
			}},
		},
	}
	if class.ReclaimPolicy != nil {
		volume.Spec.PersistentVolumeReclaimPolicy = *class.ReclaimPolicy
	}
	return volume, nil
}

func imageOf(claim *corev1.PersistentVolumeClaim, class *storagev1.StorageClass) (string, error) {
	image := claim.Annotations[contract.ImageAnnotation]
	if image == "" {
		image = class.Parameters[contract.ImageAttribute]
	}
	if image == "" {
		return "", fmt.Errorf("the claim names no image: annotate it with %s, such as registry.example/team/data:1.0, or set "+
			"the parameter %s of StorageClass %s", contract.ImageAnnotation, contract.ImageAttribute, class.Name)
	}
	if len(image) > contract.MaxReference {
		return "", fmt.Errorf("the claim's image reference has %d bytes, and %d are allowed", len(image), contract.MaxReference)
	}
	if _, err := reference.ParseDockerRef(image); err != nil {
		return "", fmt.Errorf("%q is not an image reference (%w); one looks like registry.example/team/data:1.0", image, err)
	}
	return image, nil
}

// checkAccess allows claims that only read: a PersistentVolume outlives its pods, and an image cannot be changed. Other
// requests are refused, because a claim whose volume lacks what it asks for is never bound.
func checkAccess(claim *corev1.PersistentVolumeClaim) error {
	for _, mode := range claim.Spec.AccessModes {
		if mode != corev1.ReadOnlyMany {
			return fmt.Errorf("the claim asks for access mode %s, and an image can be %s only; for a writable copy use an inline "+
				"volume of the driver in the pod", mode, corev1.ReadOnlyMany)
		}
	}
	if claim.Spec.DataSource != nil || claim.Spec.DataSourceRef != nil {
		return errors.New("the claim names a data source, and the data of an image volume is its image; remove dataSource")
	}
	if attributes := claim.Spec.VolumeAttributesClassName; attributes != nil && *attributes != "" {
		return fmt.Errorf("the claim names VolumeAttributesClass %s, and an image volume has no attributes to change; remove "+
			"volumeAttributesClassName", *attributes)
	}
	if claim.Spec.Selector != nil {
		return errors.New("the claim has a selector, which only volumes that exist can match; remove it or storageClassName")
	}
	return nil
}

func sizeOf(claim *corev1.PersistentVolumeClaim) resource.Quantity {
	if asked, ok := claim.Spec.Resources.Requests[corev1.ResourceStorage]; ok && !asked.IsZero() {
		return asked
	}
	return resource.MustParse(DefaultSize)
}

// secretOf returns the secret that opens the image, nil for none. Its name and namespace may have the placeholders of
// the external provisioner: ${pv.name}, ${pvc.name}, ${pvc.namespace} and, in the name, ${pvc.annotations['key']}.
func secretOf(volume string, claim *corev1.PersistentVolumeClaim, class *storagev1.StorageClass) (*corev1.SecretReference, error) {
	name, namespace := class.Parameters[secretNameParameter], class.Parameters[secretNamespaceParameter]
	if name == "" && namespace == "" {
		return nil, nil //nolint:nilnil // no secret is no error
	}
	if name == "" || namespace == "" {
		return nil, fmt.Errorf("StorageClass %s sets only one of the parameters %s and %s; set both", class.Name,
			secretNameParameter, secretNamespaceParameter)
	}
	known := map[string]string{"pv.name": volume, "pvc.namespace": claim.Namespace}
	namespace, err := fill(namespace, known)
	if err != nil {
		return nil, fmt.Errorf("parameter %s of StorageClass %s: %w", secretNamespaceParameter, class.Name, err)
	}
	known["pvc.name"] = claim.Name
	for key, value := range claim.Annotations {
		known["pvc.annotations['"+key+"']"] = value
	}
	if name, err = fill(name, known); err != nil {
		return nil, fmt.Errorf("parameter %s of StorageClass %s: %w", secretNameParameter, class.Name, err)
	}
	return &corev1.SecretReference{Name: name, Namespace: namespace}, nil
}

// fill puts values in the place of ${placeholders}.
func fill(template string, values map[string]string) (string, error) {
	var err error
	filled := os.Expand(template, func(placeholder string) string {
		value, known := values[placeholder]
		if !known {
			err = fmt.Errorf("${%s} stands for nothing here", placeholder)
		}
		return value
	})
	return filled, err
}
