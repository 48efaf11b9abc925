package render

import (
	"path"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"

	"github.com/image-csi/image-csi-operator/api/v1alpha1"
	"github.com/image-csi/image-csi-operator/internal/contract"
)

// credentialsMode lets only the node plugin, which runs as root, read the secrets.
const credentialsMode = 0o400

// credentials are the driver's secrets as files of the node plugin: one volume, one directory for each secret. The
// kubelet brings them, and their changes, to the node, so neither the operator nor the node plugin may read secrets
// through the API. A secret that does not exist holds no pod back.
func credentials(driver *v1alpha1.ImageCSIDriver) ([]corev1.Volume, []corev1.VolumeMount) {
	const name = "credentials"
	secrets := driver.Spec.Credentials.Secrets
	if len(secrets) == 0 {
		return nil, nil
	}
	sources := make([]corev1.VolumeProjection, 0, len(secrets))
	for _, secret := range secrets {
		projection := &corev1.SecretProjection{
			LocalObjectReference: corev1.LocalObjectReference{Name: secret.Name},
			Optional:             ptr.To(true),
		}
		for _, key := range []string{corev1.DockerConfigJsonKey, corev1.DockerConfigKey} {
			projection.Items = append(projection.Items, corev1.KeyToPath{Key: key, Path: path.Join(secret.Name, key)})
		}
		sources = append(sources, corev1.VolumeProjection{Secret: projection})
	}
	volume := corev1.Volume{Name: name, VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{
		Sources: sources, DefaultMode: ptr.To[int32](credentialsMode),
	}}}
	return []corev1.Volume{volume}, []corev1.VolumeMount{{Name: name, MountPath: contract.CredentialsPath, ReadOnly: true}}
}
