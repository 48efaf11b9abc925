package kubeletpods

import "testing"

const root = "/var/lib/kubelet"

func TestOnlyATargetInAPodsDirectoryIsThatPods(t *testing.T) {
	for target, want := range map[string]string{
		root + "/pods/0d1e-1/volumes/kubernetes.io~csi/v/mount": "0d1e-1",
		root + "/pods/0d1e-1/x":                                 "0d1e-1",
		root + "/pods/0d1e-1":                                   "",
		root + "/pods//x":                                       "",
		root + "/pods/../x":                                     "",
		root + "/pods/./x":                                      "",
		root + "/podsx/0d1e-1/x":                                "",
		"/other/kubelet/pods/0d1e-1/x":                          "",
		"":                                                      "",
	} {
		if uid, ok := Beneath(root).PodOf(target); ok != (want != "") || (ok && uid != want) {
			t.Errorf("%s: %q, %v", target, uid, ok)
		}
	}
}

func TestAPodIsGoneOnlyWhereThatIsCertain(t *testing.T) {
	const target = root + "/pods/a/volumes/kubernetes.io~csi/v/mount"
	for _, c := range []struct {
		target string
		pods   []string
		gone   bool
	}{
		{target, []string{"b", "c"}, true},
		{target, []string{"b", "a"}, false},
		{target, nil, false},
		{root + "/elsewhere/a/mount", []string{"b"}, false},
	} {
		if Beneath(root).IsGone(c.target, c.pods) != c.gone {
			t.Errorf("%s, while %v are there: gone is %v", c.target, c.pods, !c.gone)
		}
	}
}

func TestATargetIsWhereTheKubeletHasACSIVolume(t *testing.T) {
	pods := Beneath(root)
	for path, want := range map[string]bool{
		root + "/pods/0d1e-1/volumes/kubernetes.io~csi/v/mount":            true,
		root + "/pods/0d1e-1/volumes/kubernetes.io~csi/pv.example.1/mount": true,
		root + "/pods/0d1e-1/volumes/kubernetes.io~csi/v":                  false,
		root + "/pods/0d1e-1/volumes/kubernetes.io~csi/mount":              false,
		root + "/pods/0d1e-1/volumes/kubernetes.io~csi/v/mount/x":          false,
		root + "/pods/0d1e-1/volumes/kubernetes.io~csi/v/w/mount":          false,
		root + "/pods/0d1e-1/volumes/kubernetes.io~csi/v/mounts":           false,
		root + "/pods/0d1e-1/volumes/kubernetes.io~csi//mount":             false,
		root + "/pods/0d1e-1/volumes/kubernetes.io~csi/../mount":           false,
		root + "/pods/0d1e-1/volumes/kubernetes.io~empty-dir/v/mount":      false,
		root + "/pods/0d1e-1/volume-subpaths/v/c/0":                        false,
		root + "/pods/0d1e-1/mount":                                        false,
		root + "/pods/../volumes/kubernetes.io~csi/v/mount":                false,
		root + "/pods//volumes/kubernetes.io~csi/v/mount":                  false,
		root + "/plugins/kubernetes.io/csi/pv/v/globalmount":               false,
		root + "/x": false,
		"/etc":      false,
		"":          false,
	} {
		if pods.IsTarget(path) != want {
			t.Errorf("%s: %v", path, !want)
		}
	}
	if got, want := pods.TargetOf("0d1e-1", "v"), root+"/pods/0d1e-1/volumes/kubernetes.io~csi/v/mount"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// The ID was computed with sha256sum(1).
func TestAnInlineVolumeHasItsIDAtItsOwnTargetOnly(t *testing.T) {
	const id = "csi-df80ee375f04d8422f3a9eedf2df0d79859a5f14f9a7573c974565db8302ff44"
	for target, want := range map[string]string{
		root + "/pods/0d1e-1/volumes/kubernetes.io~csi/v/mount":   id,
		root + "/pods/0d1e-1/volumes/kubernetes.io~csi/v":         "",
		root + "/pods/0d1e-1/volumes/kubernetes.io~csi/v/mount/x": "",
		root + "/pods/0d1e-1/volumes/kubernetes.io~nfs/v/mount":   "",
		root + "/plugins/0d1e-1/v/mount":                          "",
	} {
		if got := Beneath(root).InlineVolumeAt(target); got != want {
			t.Errorf("%s: %q", target, got)
		}
	}
}
