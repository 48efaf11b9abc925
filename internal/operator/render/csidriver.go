package render

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"github.com/image-csi/image-csi-operator/api/v1alpha1"
	"github.com/image-csi/image-csi-operator/internal/operator/ownership"
)

// ephemeralProfileLabel is the least Pod Security level at which OpenShift admits pods with inline volumes of the
// driver. Without it, OpenShift takes them in privileged namespaces only.
const ephemeralProfileLabel = "security.openshift.io/csi-ephemeral-volume-profile"

// csiDriver returns the object by which the kubelet learns how to treat the volumes of one of the driver's names.
func csiDriver(driver *v1alpha1.ImageCSIDriver, name string, existing []storagev1.CSIDriver, lacking Lacking) *storagev1.CSIDriver {
	objectLabels := labels(driver)
	if !othersSetProfile(existing, name) {
		objectLabels[ephemeralProfileLabel] = "restricted"
	}
	requests := tokenRequests(driver)
	if lacking.Has(TokensInSecrets()) {
		requests = nil // The tokens would come among the volume's attributes, which are logged.
	}
	var inSecrets *bool // may be set with token requests only
	if len(requests) > 0 {
		// Among the secrets, tokens stay out of logs, and no user can put one there in the kubelet's name.
		inSecrets = ptr.To(true)
	}
	return &storagev1.CSIDriver{
		TypeMeta:   metav1.TypeMeta{APIVersion: storagev1.SchemeGroupVersion.String(), Kind: "CSIDriver"},
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: objectLabels},
		Spec: storagev1.CSIDriverSpec{
			AttachRequired: ptr.To(false),
			PodInfoOnMount: ptr.To(true),
			// With true, two pods with different SELinux levels could not share a volume on one node.
			SELinuxMount:                 ptr.To(false),
			FSGroupPolicy:                ptr.To(storagev1.NoneFSGroupPolicy),
			TokenRequests:                requests,
			ServiceAccountTokenInSecrets: inSecrets,
			VolumeLifecycleModes:         []storagev1.VolumeLifecycleMode{storagev1.VolumeLifecyclePersistent, storagev1.VolumeLifecycleEphemeral},
		},
	}
}

// othersSetProfile reports whether somebody else has set the level of a CSIDriver object, by the API server's record. It then
// stays as it is: it says which namespaces may have inline volumes, which is for the cluster's administrator to decide.
func othersSetProfile(existing []storagev1.CSIDriver, name string) bool {
	at := slices.IndexFunc(existing, func(d storagev1.CSIDriver) bool { return d.Name == name })
	return at >= 0 && len(ownership.Others(&existing[at], ownership.Operator,
		fieldpath.NewSet(fieldpath.MakePathOrDie("metadata", "labels", ephemeralProfileLabel)))) > 0
}

// serviceAccount of the node plugins. It has no rights and its token is not mounted; it exists so that policies can
// name the pods.
func serviceAccount(driver *v1alpha1.ImageCSIDriver, settings Settings) *corev1.ServiceAccount {
	return &corev1.ServiceAccount{
		TypeMeta: metav1.TypeMeta{APIVersion: corev1.SchemeGroupVersion.String(), Kind: "ServiceAccount"},
		ObjectMeta: metav1.ObjectMeta{
			Namespace: settings.Namespace, Name: ServiceAccountName(driver.Name), Labels: labels(driver),
		},
		AutomountServiceAccountToken: ptr.To(false),
	}
}
