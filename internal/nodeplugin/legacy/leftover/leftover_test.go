package leftover

import (
	"strings"
	"testing"
)

func TestNamesOfTheLegacyDriverAndNoOthersAreLeftovers(t *testing.T) {
	inline := "csi-" + strings.Repeat("0a", 32)
	for _, c := range []struct {
		name, volumeID string
		ok             bool
	}{
		{"csi-image.warm-metal.tech-" + inline, inline, true},
		{"container-image.csi.k8s.io-" + inline, inline, true},
		{"csi-image.warm-metal.tech-sha256:" + strings.Repeat("1", 64), "", true},
		{"container-image.csi.k8s.io-" + strings.Repeat("1", 64), "", true},
		{"csi-image.warm-metal.tech-" + inline + "0", "", true},
		{"container-image.csi.k8s.io-", "", false},
		{"container-image.csi.k8s.io", "", false},
		{"imagecsi-container-image.csi.k8s.io-" + inline, "", false},
		{inline, "", false},
		{"", "", false},
	} {
		if volumeID, ok := Key(c.name); volumeID != c.volumeID || ok != c.ok {
			t.Errorf("%q: %q, %t", c.name, volumeID, ok)
		}
	}
}

func TestTargetLabelsOfBothNamesAreRead(t *testing.T) {
	for _, c := range []struct {
		label, target string
	}{
		{"csi-image.warm-metal.tech/target|/var/lib/kubelet/pods/a/mount", "/var/lib/kubelet/pods/a/mount"},
		{"container-image.csi.k8s.io/target|/a|b", "/a|b"},
		{"container-image.csi.k8s.io/target|", ""},
		{"container-image.csi.k8s.io/id|csi-1", ""},
		{"containerd.io/gc.root", ""},
	} {
		if target, ok := Target(c.label); target != c.target || ok != (c.target != "") {
			t.Errorf("%q: %q, %t", c.label, target, ok)
		}
	}
}
