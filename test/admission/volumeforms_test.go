package admission

import (
	"errors"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/image-csi/image-csi-operator/test/internal/poll"
)

// withItsOwnUsers is a pod with hostUsers: false.
func withItsOwnUsers(pod *corev1.Pod) *corev1.Pod {
	pod.Spec.HostUsers = ptr.To(false)
	return pod
}

// formedVolume is an inline volume with a form; an empty one is none.
func formedVolume(driver string, readOnly bool, form string) corev1.Volume {
	v := inlineVolume("v", driver, readOnly)
	if form != "" {
		v.CSI.VolumeAttributes["form"] = form
	}
	return v
}

// keepsUsers reports whether an API server takes hostUsers. Older ones leave the field out.
func keepsUsers(t *testing.T, c client.Client) bool {
	t.Helper()
	got := withItsOwnUsers(podOf(corev1.Volume{Name: "v", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}))
	if err := c.Create(t.Context(), got, client.DryRunAll); err != nil {
		t.Fatal(err)
	}
	return got.Spec.HostUsers != nil
}

// formsAreWanted has the policies of config/admission, and a driver.
func formsAreWanted(t *testing.T, c client.Client) {
	if !keepsUsers(t, c) {
		return
	}
	const add = "add form: IDMappable to its volumeAttributes"
	poll.Until(t, "the policy for forms holds", takesEffect, func() error {
		if err := c.Create(t.Context(), withItsOwnUsers(podOf(formedVolume(driver, true, ""))), client.DryRunAll); err == nil {
			return errors.New("the pod is accepted")
		}
		return nil
	})
	for name, test := range map[string]struct {
		pod     *corev1.Pod
		refused bool
	}{
		"without a form":                  {withItsOwnUsers(podOf(formedVolume(driver, true, ""))), true},
		"as an overlay":                   {withItsOwnUsers(podOf(formedVolume(driver, true, "Overlay"))), true},
		"writable without a form":         {withItsOwnUsers(podOf(formedVolume(driver, false, ""))), true},
		"writable in the form":            {withItsOwnUsers(podOf(formedVolume(driver, false, "IDMappable"))), false},
		"in the form":                     {withItsOwnUsers(podOf(formedVolume(driver, true, "IDMappable"))), false},
		"with the node's users":           {podOf(formedVolume(driver, true, "")), false},
		"of another driver":               {withItsOwnUsers(podOf(formedVolume("elsewhere.example.com", true, ""))), false},
		"with the node's users, in words": {podOf(formedVolume(driver, false, "")), false},
	} {
		t.Run(name, func(t *testing.T) {
			if name == "with the node's users, in words" {
				test.pod.Spec.HostUsers = ptr.To(true)
			}
			err := c.Create(t.Context(), test.pod, client.DryRunAll)
			if (err != nil) != test.refused {
				t.Fatal(err)
			}
			if test.refused && (!strings.Contains(err.Error(), add) || !strings.Contains(err.Error(), "volume v of CSI driver "+driver)) {
				t.Errorf("%v is no advice", err)
			}
		})
	}
}

// formsAreAdded has the policies of config/mutation, and a driver with an alias.
func formsAreAdded(t *testing.T, c client.Client) {
	if !keepsUsers(t, c) {
		return
	}
	try := func(t *testing.T, pod *corev1.Pod) *corev1.CSIVolumeSource {
		t.Helper()
		if err := c.Create(t.Context(), pod, client.DryRunAll); err != nil {
			t.Fatal(err)
		}
		return pod.Spec.Volumes[0].CSI
	}
	poll.Until(t, "the policy for forms takes effect", takesEffect, func() error {
		if got := try(t, withItsOwnUsers(podOf(formedVolume(driver, true, "")))); got.VolumeAttributes["form"] == "" {
			return errors.New("nothing was added")
		}
		return nil
	})
	for name, test := range map[string]struct {
		pod  *corev1.Pod
		want string
	}{
		"a read-only volume":          {withItsOwnUsers(podOf(formedVolume(driver, true, ""))), "IDMappable"},
		"by an alias":                 {withItsOwnUsers(podOf(formedVolume(alias, true, ""))), "IDMappable"},
		"with a form":                 {withItsOwnUsers(podOf(formedVolume(driver, true, "Overlay"))), "Overlay"},
		"a writable volume":           {withItsOwnUsers(podOf(formedVolume(driver, false, ""))), "IDMappable"},
		"in a pod of the node's user": {podOf(formedVolume(driver, true, "")), ""},
		"another driver's volume":     {withItsOwnUsers(podOf(formedVolume("elsewhere.example.com", true, ""))), ""},
	} {
		t.Run(name, func(t *testing.T) {
			want := test.pod.Spec.Volumes[0].CSI.DeepCopy()
			if test.want != "" {
				want.VolumeAttributes["form"] = test.want
			}
			if got := try(t, test.pod); got.String() != want.String() {
				t.Errorf("got %s, want %s", got, want)
			}
		})
	}
	t.Run("of all volumes, and nothing else of the pod changes", func(t *testing.T) {
		pod := withItsOwnUsers(podOf(formedVolume(driver, true, "")))
		second := formedVolume(driver, true, "")
		second.Name = "second"
		secret := &corev1.LocalObjectReference{Name: "s"}
		second.CSI.NodePublishSecretRef = secret
		pod.Spec.Volumes = append(pod.Spec.Volumes, corev1.Volume{Name: "other", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}, second)
		plain := pod.DeepCopy()
		plain.Spec.HostUsers = nil
		try(t, pod)
		try(t, plain)
		for _, i := range []int{0, 2} {
			if got := pod.Spec.Volumes[i].CSI.VolumeAttributes; len(got) != 2 || got["form"] != "IDMappable" {
				t.Errorf("volume %s has %v", pod.Spec.Volumes[i].Name, got)
			}
			delete(pod.Spec.Volumes[i].CSI.VolumeAttributes, "form")
		}
		pod.Spec.HostUsers = nil
		if pod.Spec.String() != plain.Spec.String() {
			t.Errorf("the policy changed more:\n%s\n%s", pod.Spec.String(), plain.Spec.String())
		}
	})
}
