package render

import (
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/image-csi/image-csi-operator/api/v1alpha1"
	"github.com/image-csi/image-csi-operator/internal/contract"
	"github.com/image-csi/image-csi-operator/internal/operator/nodeclass"
)

func TestEveryDirectoryOfCRIOsImagesIsSeenByTheNodePlugin(t *testing.T) {
	for _, mode := range []v1alpha1.MountMode{contract.ModeBidirectional, contract.ModeNsenter} {
		t.Run(string(mode), func(t *testing.T) { testStores(t, mode) })
	}
}

func testStores(t *testing.T, mode v1alpha1.MountMode) {
	t.Helper()
	driver := minimal()
	driver.Spec.NodeClasses = []v1alpha1.NodeClass{
		{Name: nodeclass.CRIO, MountMode: mode, StorageRoot: "/data/root", RunRoot: "/data/run", ImageStore: "/data/images", AdditionalImageStores: []v1alpha1.HostPath{"/mnt/a", "/mnt/b"}},
		{Name: nodeclass.Containerd, RunRoot: "/data/none", ImageStore: "/data/none", AdditionalImageStores: []v1alpha1.HostPath{"/mnt/none"}},
	}
	for name, want := range map[string]struct {
		args   []string
		mounts []corev1.VolumeMount
	}{
		nodeclass.CRIO: {
			args: []string{"--storage-root=/data/root", "--run-root=/data/run", "--image-store=/data/images", "--additional-store=/mnt/a", "--additional-store=/mnt/b"},
			mounts: []corev1.VolumeMount{{Name: "storage", MountPath: "/data/root"}, {Name: "storage-run", MountPath: "/data/run"}, {Name: "image-store", MountPath: "/data/images"},
				{Name: "additional-store-0", MountPath: "/mnt/a", ReadOnly: true}, {Name: "additional-store-1", MountPath: "/mnt/b", ReadOnly: true}},
		},
		nodeclass.Containerd: {},
		nodeclass.OpenShift:  {args: []string{"--run-root=/run/containers/storage"}},
	} {
		found := class(t, name, driver.Spec.NodeClasses...)
		var got []string
		for _, arg := range arguments(driver, Names(driver), found) {
			for _, flag := range []string{"--run-root=", "--image-store=", "--additional-store="} {
				if len(arg) > len(flag) && arg[:len(flag)] == flag {
					got = append(got, arg)
				}
			}
			if name == nodeclass.CRIO && arg == want.args[0] {
				got = append(got, arg)
			}
		}
		if !slices.Equal(got, want.args) {
			t.Errorf("%s: arguments %q, want %q", name, got, want.args)
		}
		_, mounts := hostDirectories(driver, found).split()
		for _, m := range want.mounts {
			if !slices.ContainsFunc(mounts, func(is corev1.VolumeMount) bool {
				return is.Name == m.Name && is.MountPath == m.MountPath && is.ReadOnly == m.ReadOnly
			}) {
				t.Errorf("%s: no mount %+v among %+v", name, m, mounts)
			}
		}
		if slices.ContainsFunc(mounts, func(is corev1.VolumeMount) bool { return is.MountPath == "/data/none" || is.MountPath == "/mnt/none" }) {
			t.Errorf("%s: mounts %+v", name, mounts)
		}
	}
}
