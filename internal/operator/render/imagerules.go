package render

import (
	"encoding/json"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/image-csi/image-csi-operator/api/v1alpha1"
	"github.com/image-csi/image-csi-operator/internal/contract"
)

// ImageRulesName returns the name of the ConfigMap with a driver's rules for images.
func ImageRulesName(driver string) string { return bounded(driver + "-image-rules") }

// imageRules are the driver's rules for images, which the node plugins hold. They are there even if they allow every
// image, so that a file that is missing means that the rules are not known. The kubelet brings changes to the node, so they
// replace no node plugin.
func imageRules(driver *v1alpha1.ImageCSIDriver, settings Settings) *corev1.ConfigMap {
	rules := contract.ImageRules{ImagePinning: contract.ImagePinning(driver.Spec.Security.ImagePinning)}
	for _, image := range driver.Spec.Security.AllowedImages {
		rules.AllowedImages = append(rules.AllowedImages, string(image))
	}
	for _, kind := range driver.Spec.Security.RefusedContent {
		rules.RefusedContent = append(rules.RefusedContent, contract.ImageContent(kind))
	}
	text, err := json.Marshal(rules)
	if err != nil {
		text = nil // Strings can always be written; a node plugin refuses what is empty.
	}
	return &corev1.ConfigMap{
		TypeMeta:   metav1.TypeMeta{APIVersion: corev1.SchemeGroupVersion.String(), Kind: "ConfigMap"},
		ObjectMeta: metav1.ObjectMeta{Namespace: settings.Namespace, Name: ImageRulesName(driver.Name), Labels: labels(driver)},
		Data:       map[string]string{contract.ImageRulesKey: string(text)},
	}
}

// imageRulesFile is the ConfigMap as a file of the node plugin. Without it, no node plugin starts.
func imageRulesFile(driver *v1alpha1.ImageCSIDriver) (corev1.Volume, corev1.VolumeMount) {
	const name = "image-rules"
	volume := corev1.Volume{Name: name, VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{
		LocalObjectReference: corev1.LocalObjectReference{Name: ImageRulesName(driver.Name)},
		Items:                []corev1.KeyToPath{{Key: contract.ImageRulesKey, Path: contract.ImageRulesKey}},
	}}}
	return volume, corev1.VolumeMount{Name: name, MountPath: contract.ImageRulesDir, ReadOnly: true}
}
