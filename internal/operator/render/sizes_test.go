package render

import (
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/utils/ptr"

	"github.com/image-csi/image-csi-operator/internal/contract"
	"github.com/image-csi/image-csi-operator/internal/operator/nodeclass"
	"github.com/image-csi/image-csi-operator/internal/quantity"
)

// The library writes 1.5e0 as 1500e-3, which the node plugin refuses: it would not start on any node.
func TestTheNodePluginReadsEverySizeThatItIsGiven(t *testing.T) {
	for text, want := range map[string]string{
		"20Gi": "20Gi", "2M": "2000000", "1e9": "1000000000", "1500000.5e0": "1500001", "1500000000m": "1500000", "0.5Gi": "512Mi",
		"1048576": "1Mi", "1Ei": "1Ei",
	} {
		driver := full()
		driver.Spec.Volumes.MaxImageSize = ptr.To(resource.MustParse(text))
		var got string
		for _, object := range Render(Input{Driver: driver, Names: Names(driver), Classes: []nodeclass.Class{class(t, nodeclass.Containerd)}, Settings: settings}).Apply {
			if set, ok := object.(*appsv1.DaemonSet); ok {
				for _, argument := range set.Spec.Template.Spec.Containers[0].Args {
					if value, found := strings.CutPrefix(argument, "--"+contract.FlagMaxImageSize+"="); found {
						got = value
					}
				}
			}
		}
		if got != want {
			t.Errorf("%s became %q, want %q", text, got, want)
		}
		if _, err := quantity.Parse(got); err != nil {
			t.Error(err)
		}
	}
}
