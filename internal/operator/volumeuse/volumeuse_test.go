package volumeuse

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestUsedBy(t *testing.T) {
	volumes := Of([]string{"image.example.com", "alias.example.com"})
	for _, persistent := range []corev1.PersistentVolume{
		persistentVolume("image.example.com", "apps", "data"),
		persistentVolume("image.example.com", "apps", "web-scratch"),
		persistentVolume("other.example.com", "apps", "foreign"),
		persistentVolume("image.example.com", "", ""),
	} {
		volumes.Add(&persistent)
	}
	inline := corev1.VolumeSource{CSI: &corev1.CSIVolumeSource{Driver: "alias.example.com"}}
	tests := map[string]struct {
		source corev1.VolumeSource
		edit   func(*corev1.Pod)
		want   bool
	}{
		"inline":                     {source: inline, want: true},
		"inline of another driver":   {source: corev1.VolumeSource{CSI: &corev1.CSIVolumeSource{Driver: "other.example.com"}}},
		"claim":                      {source: claim("data"), want: true},
		"claim of another driver":    {source: claim("foreign")},
		"claim in another namespace": {source: claim("data"), edit: func(p *corev1.Pod) { p.Namespace = "kube-system" }},
		"generic ephemeral":          {source: corev1.VolumeSource{Ephemeral: &corev1.EphemeralVolumeSource{}}, want: true},
		"no volume of a driver":      {source: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}},
		"not scheduled yet":          {source: inline, edit: func(p *corev1.Pod) { p.Spec.NodeName = "" }},
		"ended well":                 {source: inline, edit: func(p *corev1.Pod) { p.Status.Phase = corev1.PodSucceeded }},
		"ended, its volumes still to be unmounted": {source: inline, edit: func(p *corev1.Pod) {
			p.Status.Phase, p.DeletionTimestamp = corev1.PodSucceeded, &metav1.Time{}
		}, want: true},
		"ended badly":                  {source: inline, edit: func(p *corev1.Pod) { p.Status.Phase = corev1.PodFailed }},
		"waiting for its image volume": {source: inline, edit: func(p *corev1.Pod) { p.Status.Phase = corev1.PodPending }, want: true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			pod := &corev1.Pod{}
			pod.Namespace, pod.Name = "apps", "web"
			pod.Spec.NodeName = "worker"
			pod.Status.Phase = corev1.PodRunning
			pod.Spec.Volumes = []corev1.Volume{
				{Name: "token", VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{}}},
				{Name: "scratch", VolumeSource: test.source},
			}
			if test.edit != nil {
				test.edit(pod)
			}
			if got := volumes.UsedBy(pod); got != test.want {
				t.Errorf("UsedBy = %v, want %v", got, test.want)
			}
		})
	}
}

func persistentVolume(driver, namespace, claim string) corev1.PersistentVolume {
	volume := corev1.PersistentVolume{}
	volume.Spec.CSI = &corev1.CSIPersistentVolumeSource{Driver: driver}
	if claim != "" {
		volume.Spec.ClaimRef = &corev1.ObjectReference{Namespace: namespace, Name: claim}
	}
	return volume
}

func claim(name string) corev1.VolumeSource {
	return corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: name}}
}
