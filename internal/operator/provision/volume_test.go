package provision

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/image-csi/image-csi-operator/internal/contract"
)

const image = "registry.example/team/data:1.0"

func claim(edits ...func(*corev1.PersistentVolumeClaim)) *corev1.PersistentVolumeClaim {
	c := &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Name: "data", Namespace: "team", Annotations: map[string]string{contract.ImageAnnotation: image}},
		Spec: corev1.PersistentVolumeClaimSpec{
			AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadOnlyMany},
			Resources:   corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("5Gi")}},
		},
	}
	for _, edit := range edits {
		edit(c)
	}
	return c
}

func class(parameters map[string]string) *storagev1.StorageClass {
	return &storagev1.StorageClass{ObjectMeta: metav1.ObjectMeta{Name: "images"}, Provisioner: "image.example.com",
		Parameters: parameters, ReclaimPolicy: ptr.To(corev1.PersistentVolumeReclaimDelete)}
}

func TestAClaimGetsAReadOnlyVolumeWithAHandleOfItsOwn(t *testing.T) {
	got, err := Volume("pvc-1", claim(), class(map[string]string{
		"pullPolicy": "Always", "volumeHandle": "evil", secretNameParameter: "${pvc.name}-pull", secretNamespaceParameter: "${pvc.namespace}",
	}))
	if err != nil {
		t.Fatal(err)
	}
	want := &corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: "pvc-1"},
		Spec: corev1.PersistentVolumeSpec{
			AccessModes:                   []corev1.PersistentVolumeAccessMode{corev1.ReadOnlyMany},
			Capacity:                      corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("5Gi")},
			PersistentVolumeReclaimPolicy: corev1.PersistentVolumeReclaimDelete,
			PersistentVolumeSource: corev1.PersistentVolumeSource{CSI: &corev1.CSIPersistentVolumeSource{
				Driver: "image.example.com", VolumeHandle: "pvc-1", ReadOnly: true,
				VolumeAttributes:     map[string]string{"image": image, "pullPolicy": "Always"},
				NodePublishSecretRef: &corev1.SecretReference{Name: "data-pull", Namespace: "team"},
			}},
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error("volume (-want +got):\n" + diff)
	}
}

func TestTheClaimsImageBeatsTheClasss(t *testing.T) {
	parameters := class(map[string]string{"image": "registry.example/default:1"})
	for want, c := range map[string]*corev1.PersistentVolumeClaim{
		image:                        claim(),
		"registry.example/default:1": claim(func(c *corev1.PersistentVolumeClaim) { c.Annotations = nil }),
	} {
		got, err := Volume("pvc-1", c, parameters)
		if err != nil || got.Spec.CSI.VolumeAttributes["image"] != want {
			t.Errorf("volume %+v, %v; want image %s", got, err, want)
		}
	}
}

func TestAClaimWithoutASizeGetsOne(t *testing.T) {
	got, err := Volume("pvc-1", claim(func(c *corev1.PersistentVolumeClaim) { c.Spec.Resources.Requests = nil }), class(nil))
	if err != nil || got.Spec.Capacity.Storage().String() != DefaultSize {
		t.Errorf("volume %+v, %v", got, err)
	}
}

func TestAClaimThatCannotBeServedTellsWhy(t *testing.T) {
	for name, test := range map[string]struct {
		edit       func(*corev1.PersistentVolumeClaim)
		parameters map[string]string
		words      string
	}{
		"no image":     {func(c *corev1.PersistentVolumeClaim) { c.Annotations = nil }, nil, "annotate it with " + contract.ImageAnnotation},
		"no reference": {func(c *corev1.PersistentVolumeClaim) { c.Annotations[contract.ImageAnnotation] = "A B" }, nil, "is not an image reference"},
		"a long one": {func(c *corev1.PersistentVolumeClaim) {
			c.Annotations[contract.ImageAnnotation] = strings.Repeat("A", 9999)
		}, nil, "has 9999 bytes"},
		"writable": {func(c *corev1.PersistentVolumeClaim) {
			c.Spec.AccessModes = []corev1.PersistentVolumeAccessMode{"ReadWriteOnce"}
		}, nil, "access mode ReadWriteOnce"},
		"a data source":       {func(c *corev1.PersistentVolumeClaim) { c.Spec.DataSource = &corev1.TypedLocalObjectReference{} }, nil, "remove dataSource"},
		"changing attributes": {func(c *corev1.PersistentVolumeClaim) { c.Spec.VolumeAttributesClassName = ptr.To("fast") }, nil, "VolumeAttributesClass fast"},
		"a selector":          {func(c *corev1.PersistentVolumeClaim) { c.Spec.Selector = &metav1.LabelSelector{} }, nil, "has a selector"},
		"half a secret":       {nil, map[string]string{secretNameParameter: "x"}, "set both"},
		"a secret's placeholder": {nil, map[string]string{secretNameParameter: "${pvc.annotations['missing']}", secretNamespaceParameter: "x"},
			"${pvc.annotations['missing']} stands for nothing here"},
		"a namespace of the claim's choice": {nil, map[string]string{secretNameParameter: "x", secretNamespaceParameter: "${pvc.annotations['" + contract.ImageAnnotation + "']}"},
			"stands for nothing here"},
	} {
		t.Run(name, func(t *testing.T) {
			c := claim()
			if test.edit != nil {
				test.edit(c)
			}
			_, err := Volume("pvc-1", c, class(test.parameters))
			if err == nil || !strings.Contains(err.Error(), test.words) || len(err.Error()) > 900 {
				t.Errorf("error %v does not tell %q", err, test.words)
			}
		})
	}
}

func TestMountOptionsOfAClassAreTakenOrNamed(t *testing.T) {
	images := class(nil)
	images.MountOptions = []string{"ro", "noatime"}
	got, err := Volume("pvc-1", claim(func(c *corev1.PersistentVolumeClaim) { c.Spec.VolumeAttributesClassName = ptr.To("") }), images)
	if err != nil || !cmp.Equal(got.Spec.MountOptions, images.MountOptions) {
		t.Errorf("volume %+v, %v", got, err)
	}
	images.MountOptions = []string{"ro", "noexec"}
	_, err = Volume("pvc-1", claim(), images)
	if err == nil || !strings.Contains(err.Error(), `StorageClass images: mount options "noexec"`) {
		t.Errorf("got %v", err)
	}
}

// FuzzVolume wants of every claim and class either a volume that can be mounted or a sentence.
func FuzzVolume(f *testing.F) {
	f.Add(image, "", "", "")
	f.Add("", "busybox", "${pvc.name}-pull", "${pvc.namespace}")
	f.Add("A B", "registry.example/default:1", "${pvc.annotations['"+contract.ImageAnnotation+"']}", "x")
	f.Add(strings.Repeat("a/", 300), "", "${", "}$")
	f.Fuzz(func(t *testing.T, annotation, parameter, secret, namespace string) {
		c := claim(func(c *corev1.PersistentVolumeClaim) { c.Annotations[contract.ImageAnnotation] = annotation })
		got, err := Volume("pvc-1", c, class(map[string]string{"image": parameter, secretNameParameter: secret, secretNamespaceParameter: namespace}))
		if err != nil {
			return
		}
		shown := got.Spec.CSI.VolumeAttributes["image"]
		if !got.Spec.CSI.ReadOnly || len(shown) > contract.MaxReference || shown != annotation && shown != parameter {
			t.Errorf("%+v", got.Spec.CSI)
		}
		if ref := got.Spec.CSI.NodePublishSecretRef; (ref == nil) != (secret == "" && namespace == "") {
			t.Errorf("secret %v of %q in %q", ref, secret, namespace)
		}
	})
}
