package render

import (
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/image-csi/image-csi-operator/api/v1alpha1"
	"github.com/image-csi/image-csi-operator/internal/contract"
)

// The node plugin gets the API's values as they are.
func TestTheAPIsValuesAreTheNodePlugins(t *testing.T) {
	for api, plugin := range map[string]string{
		string(v1alpha1.AccessReadWrite):            string(contract.AccessReadWrite),
		string(v1alpha1.AccessReadOnly):             string(contract.AccessReadOnly),
		string(v1alpha1.FallbackRefuse):             string(contract.FallbackRefuse),
		string(v1alpha1.FallbackMemory):             string(contract.FallbackMemory),
		string(v1alpha1.OtherPlatformsMount):        string(contract.OtherPlatformsMount),
		string(v1alpha1.NeverVerify):                string(contract.NeverVerify),
		string(v1alpha1.NeverVerifyPreloadedImages): string(contract.NeverVerifyPreloadedImages),
		string(v1alpha1.AlwaysVerify):               string(contract.AlwaysVerify),
		string(v1alpha1.PinningOptional):            string(contract.PinningOptional),
		string(v1alpha1.PinningDigest):              string(contract.PinningDigest),
		string(v1alpha1.SetIDFiles):                 string(contract.ContentSetIDFiles),
		string(v1alpha1.FileCapabilities):           string(contract.ContentFileCapabilities),
		string(v1alpha1.DeviceNodes):                string(contract.ContentDeviceNodes),
		string(corev1.PullAlways):                   string(contract.PullAlways),
		string(corev1.PullIfNotPresent):             string(contract.PullIfNotPresent),
		string(corev1.PullNever):                    string(contract.PullNever),
	} {
		if api != plugin {
			t.Errorf("the API has %q, the node plugin %q", api, plugin)
		}
	}
	if v1alpha1.OtherPlatformsRefuse != v1alpha1.OtherPlatforms(contract.OtherPlatformsRefuse) {
		t.Errorf("the API has %q, the node plugin %q", v1alpha1.OtherPlatformsRefuse, contract.OtherPlatformsRefuse)
	}
}
