package server

import (
	"log/slog"
	"strings"
	"testing"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/image-csi/image-csi-operator/internal/contract"
	"github.com/image-csi/image-csi-operator/internal/nodeplugin/volume"
)

const (
	kubeletRoot = "/var/lib/kubelet"
	somewhere   = kubeletRoot + "/pods/0d1e/volumes/kubernetes.io~csi/v/mount"
)

var testRequests = requests{kubeletRoot: kubeletRoot, policy: contract.PullIfNotPresent}

func capability(mode csi.VolumeCapability_AccessMode_Mode) *csi.VolumeCapability {
	return &csi.VolumeCapability{
		AccessMode: &csi.VolumeCapability_AccessMode{Mode: mode},
		AccessType: &csi.VolumeCapability_Mount{Mount: &csi.VolumeCapability_MountVolume{}},
	}
}

// inline is a publish of an inline volume with one more attribute for each pair.
func inline(pairs ...string) *csi.NodePublishVolumeRequest {
	r := &csi.NodePublishVolumeRequest{
		VolumeId:         "csi-1",
		TargetPath:       somewhere,
		VolumeCapability: capability(csi.VolumeCapability_AccessMode_SINGLE_NODE_WRITER),
		VolumeContext:    map[string]string{"csi.storage.k8s.io/ephemeral": "true", "image": "r.example/app:1"},
	}
	for i := 0; i < len(pairs); i += 2 {
		r.VolumeContext[pairs[i]] = pairs[i+1]
	}
	return r
}

// persistent is a publish of a PersistentVolume.
func persistent(handle string, mode csi.VolumeCapability_AccessMode_Mode, pairs ...string) *csi.NodePublishVolumeRequest {
	r := inline(pairs...)
	r.VolumeId = handle
	r.VolumeCapability = capability(mode)
	delete(r.VolumeContext, "csi.storage.k8s.io/ephemeral")
	if len(pairs) == 0 {
		r.VolumeContext = nil
	}
	return r
}

// but returns the request after a change.
func but(r *csi.NodePublishVolumeRequest, change func(*csi.NodePublishVolumeRequest)) *csi.NodePublishVolumeRequest {
	change(r)
	return r
}

// options gives a request mount options.
func options(flags ...string) func(*csi.NodePublishVolumeRequest) {
	return func(r *csi.NodePublishVolumeRequest) { r.VolumeCapability.GetMount().MountFlags = flags }
}

const (
	many   = csi.VolumeCapability_AccessMode_MULTI_NODE_READER_ONLY
	single = csi.VolumeCapability_AccessMode_SINGLE_NODE_READER_ONLY
)

func TestGoodRequests(t *testing.T) {
	const app = "r.example/app:1"
	digest := "sha256:" + strings.Repeat("a", 64)
	tests := []struct {
		name    string
		request *csi.NodePublishVolumeRequest
		want    volume.Request
	}{
		{"inline is writable", inline(), volume.Request{Image: app, Writable: true}},
		{"inline readOnly", but(inline(), func(r *csi.NodePublishVolumeRequest) { r.Readonly = true }), volume.Request{Image: app}},
		{"volumeHandle wins", inline("volumeHandle", "r.example/other"), volume.Request{Image: "r.example/other:latest", Writable: true}},
		{"short name", inline("image", "busybox"), volume.Request{Image: "docker.io/library/busybox:latest", Writable: true}},
		{"tag and digest", inline("image", "r.example/app:1@"+digest), volume.Request{Image: "r.example/app@" + digest, Writable: true}},
		{"unknown keys, and earlier ones", inline("secret", "s", "secretNamespace", "n", "x", "y"), volume.Request{Image: app, Writable: true}},
		{"pullAlways", inline("pullAlways", "TRUE"), volume.Request{Image: app, Writable: true, Policy: contract.PullAlways}},
		{"pullAlways of another value", inline("pullAlways", "yes"), volume.Request{Image: app, Writable: true}},
		{"pullPolicy wins", inline("pullAlways", "true", "pullPolicy", "never"), volume.Request{Image: app, Writable: true, Policy: contract.PullNever}},
		{"IDMappable", but(inline("form", "IDMappable"), func(r *csi.NodePublishVolumeRequest) { r.Readonly = true }), volume.Request{Image: app, Form: contract.FormIDMappable}},
		{"writable and IDMappable", inline("form", "IDMappable"), volume.Request{Image: app, Writable: true, Form: contract.FormIDMappable}},
		{"PV that is IDMappable", but(persistent("unique-1", many, "image", "busybox:2", "form", "IDMappable"), func(r *csi.NodePublishVolumeRequest) { r.Readonly = true }), volume.Request{VolumeID: "unique-1", Image: "docker.io/library/busybox:2", Form: contract.FormIDMappable}},
		{"Overlay in words", inline("form", "Overlay"), volume.Request{Image: app, Writable: true}},
		{"pod", inline("csi.storage.k8s.io/pod.namespace", "ns", "csi.storage.k8s.io/pod.name", "p"), volume.Request{Image: app, Writable: true, Pod: "ns/p"}},
		{"inline with the option ro", but(inline(), options("ro")), volume.Request{Image: app}},
		{"inline with an option that is the default", but(inline(), options("relatime")), volume.Request{Image: app, Writable: true}},
		{"PV with options that hold", but(persistent(app, many), options("ro", "noatime,nodiratime")), volume.Request{VolumeID: app, Image: app}},
		{"PV for many nodes", persistent(app, many), volume.Request{VolumeID: app, Image: app}},
		{"PV for one node", persistent("busybox", single), volume.Request{VolumeID: "busybox", Image: "docker.io/library/busybox:latest"}},
		{"PV with an attribute", persistent("unique-1", many, "image", "busybox:2"), volume.Request{VolumeID: "unique-1", Image: "docker.io/library/busybox:2"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := testRequests.publish(tt.request)
			if err != nil {
				t.Fatal(err)
			}
			want := tt.want
			want.Target = somewhere
			if want.VolumeID == "" {
				want.VolumeID = "csi-1"
			}
			if want.Policy == "" {
				want.Policy = contract.PullIfNotPresent
			}
			if want.Form == "" {
				want.Form = contract.FormOverlay
			}
			if got.Form != want.Form || got.VolumeID != want.VolumeID || got.Target != want.Target || got.Image != want.Image ||
				got.Writable != want.Writable || got.Policy != want.Policy || got.Pod != want.Pod {
				t.Errorf("got %+v\nwant %+v", got, want)
			}
		})
	}
}

func TestBadRequestsAreInvalidAndExplained(t *testing.T) {
	target := func(path string) *csi.NodePublishVolumeRequest {
		return but(inline(), func(r *csi.NodePublishVolumeRequest) { r.TargetPath = path })
	}
	tests := []struct {
		name    string
		request *csi.NodePublishVolumeRequest
		want    string // in the message
	}{
		{"empty request", &csi.NodePublishVolumeRequest{}, "volume ID is missing"},
		{"too many attributes", inline("x", strings.Repeat("a", maxAttributes)), "65536 are allowed"},
		{"long volume ID", persistent(strings.Repeat("a", maxVolumeID+1), many), "1025 bytes"},
		{"volume ID with NUL", persistent("a\x00b", many), "control characters"},
		{"no target", target(""), "target path is missing"},
		{"relative target", target("pods/x"), "absolute"},
		{"target with dots", target(kubeletRoot + "/pods/../../../../etc"), "shortest form"},
		{"target with a final slash", target(somewhere + "/"), "shortest form"},
		{"target with NUL", target(somewhere + "\x00"), "control characters"},
		{"target with newline", target(somewhere + "\nx"), "control characters"},
		{"long target", target(kubeletRoot + "/" + strings.Repeat("a", maxPath)), "bytes"},
		{"target elsewhere", target("/etc"), "not beneath"},
		{"target beside the root", target(kubeletRoot + "-other/pods/x"), "not beneath"},
		{"target is the root", target(kubeletRoot), "not beneath"},
		{"target among plugins", target(kubeletRoot + "/plugins/x/csi.sock"), "directory of plugins"},
		{"target among registrations", target(kubeletRoot + "/plugins_registry"), "directory of plugins"},
		{"target beside the pods", target(kubeletRoot + "/x"), "is not where a kubelet has a CSI volume of a pod, which is " + kubeletRoot + "/pods/<pod UID>/volumes/kubernetes.io~csi/<volume>/mount"},
		{"target is a pod's directory", target(kubeletRoot + "/pods/0d1e"), "CSI volume of a pod"},
		{"target in a volume of another kind", target(kubeletRoot + "/pods/0d1e/volumes/kubernetes.io~empty-dir/v/mount"), "CSI volume of a pod"},
		{"target in a volume", target(somewhere + "/sub"), "CSI volume of a pod"},
		{"target is a sub path", target(kubeletRoot + "/pods/0d1e/volume-subpaths/v/c/0"), "CSI volume of a pod"},
		{"no capability", but(inline(), func(r *csi.NodePublishVolumeRequest) { r.VolumeCapability = nil }), "capability is missing"},
		{"block volume", but(inline(), func(r *csi.NodePublishVolumeRequest) {
			r.VolumeCapability.AccessType = &csi.VolumeCapability_Block{Block: &csi.VolumeCapability_BlockVolume{}}
		}), "volumeMode: Filesystem"},
		{"PV with an option that does not hold in a pod", but(persistent("busybox", many), options("ro", "noexec")), `mount options "noexec" would not hold`},
		{"PV with no option", but(persistent("busybox", many), options("this-is-no-option")), `"this-is-no-option"`},
		{"inline with an option", but(inline(), options("noatime")), `"noatime"`},
		{"a long option", but(persistent("busybox", many), options(strings.Repeat("a", 1<<20))), "…"},
		{"writable PV", persistent("busybox", csi.VolumeCapability_AccessMode_SINGLE_NODE_WRITER), errAccessMode},
		{"writable PV for many", persistent("busybox", csi.VolumeCapability_AccessMode_MULTI_NODE_MULTI_WRITER), errAccessMode},
		{"PV without access mode", but(persistent("busybox", many), func(r *csi.NodePublishVolumeRequest) { r.VolumeCapability.AccessMode = nil }), errAccessMode},
		{"inline without image", inline("image", ""), "volume names no image"},
		{"bad reference", inline("image", "Upper/Case"), `"Upper/Case" is not an image reference`},
		{"URL as reference", inline("image", "https://r.example/app"), "one looks like registry.example/team/app:1.0"},
		{"reference with a space", inline("image", "r.example/app 1"), "is not an image reference"},
		{"a digest alone", inline("image", strings.Repeat("a", 64)), "is not an image reference"},
		{"long reference", inline("image", strings.Repeat("a", contract.MaxReference+1)), "1025 bytes"},
		{"bad pullPolicy", inline("pullPolicy", "Sometimes"), "not one of Always, IfNotPresent, Never"},
		{"bad form", inline("form", "Flat"), "not one of Overlay, IDMappable"},
		{"IDMappable PV that the pod does not mount read-only", persistent("unique-1", many, "image", "busybox:2", "form", "IDMappable"), "set readOnly: true beside claimName"},
		{"bad secret", but(inline(), func(r *csi.NodePublishVolumeRequest) { r.Secrets = map[string]string{".dockerconfigjson": "hunter2"} }), "nodePublishSecretRef"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := testRequests.publish(tt.request)
			if status.Code(err) != codes.InvalidArgument {
				t.Fatalf("got %v, want InvalidArgument", err)
			}
			if !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%q is not in %q", tt.want, err)
			}
			if strings.Contains(err.Error(), "hunter2") || len(err.Error()) > 1000 {
				t.Errorf("the error reveals too much: %v", err)
			}
		})
	}
}

func TestCredentialsReachOnlyTheirRegistry(t *testing.T) {
	secret := map[string]string{".dockerconfigjson": `{"auths":{"r.example":{"username":"u","password":"p"}}}`}
	for image, want := range map[string]int{"r.example/app": 1, "r.example.attacker.test/app": 0, "busybox": 0} {
		r := inline("image", image)
		r.Secrets = secret
		got, err := testRequests.publish(r)
		if err != nil || len(got.Auths) != want {
			t.Errorf("image %s: %d credentials, %v; want %d", image, len(got.Auths), err, want)
		}
	}
}

func TestDriverNames(t *testing.T) {
	for name, good := range map[string]bool{
		"container-image.csi.k8s.io": true, "csi-image.warm-metal.tech": true, "a": true,
		"": false, "..": false, "../x": false, "a/b": false, "-a": false, "a.": false, "a b": false, strings.Repeat("a", 64): false,
	} {
		if err := ValidateName(name); (err == nil) != good {
			t.Errorf("ValidateName(%q) = %v", name, err)
		}
	}
}

func FuzzPublishRequest(f *testing.F) {
	for _, r := range []*csi.NodePublishVolumeRequest{inline(), persistent("busybox", many), {}} {
		data, err := proto.Marshal(r)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var r csi.NodePublishVolumeRequest
		if proto.Unmarshal(data, &r) != nil {
			return
		}
		checkPublish(t, &r)
	})
}

func FuzzPublishFields(f *testing.F) {
	f.Add("csi-1", somewhere, "busybox", "", "Always", true, int32(1), false)
	f.Add("busybox", kubeletRoot+"/../x", "", "r.example/a@sha256:0", "", false, int32(3), true)
	f.Fuzz(func(t *testing.T, id, target, image, handle, policy string, ephemeral bool, mode int32, readOnly bool) {
		r := inline("image", image, "volumeHandle", handle, "pullPolicy", policy)
		r.VolumeId, r.TargetPath, r.Readonly = id, target, readOnly
		r.VolumeCapability = capability(csi.VolumeCapability_AccessMode_Mode(mode))
		if !ephemeral {
			delete(r.VolumeContext, "csi.storage.k8s.io/ephemeral")
		}
		checkPublish(t, r)
	})
}

// FuzzPublishEntry wants no attribute, secret or group to be more than refused or let through: Internal would count against
// the node plugin.
func FuzzPublishEntry(f *testing.F) {
	f.Add("sizeLimit", "1e-2147483647", "1000", ".dockerconfigjson", `{"auths":{"r.example":{"auth":"YTpi"}}}`, "")
	f.Add("image", "r.example/app@sha256:0", "", ".dockercfg", `{"r.example":{}}`, `{"a":{"token":"x.e30.y"}}`)
	f.Add("volumeHandle", strings.Repeat("a/", 500), "4294967295", "", strings.Repeat("[", 20_000), strings.Repeat(`{"a":`, 20_000))
	f.Add("csi.storage.k8s.io/pod.name", "\x00\xff", "-1", ".dockerconfigjson", `{"auths":{"://":{"auth":"="}}}`, "null")
	n := &node{volumes: volumes{}, requests: testRequests}
	n.requests.log = slog.New(slog.DiscardHandler)
	f.Fuzz(func(t *testing.T, key, value, group, secretKey, secret, tokens string) {
		r := inline(key, value)
		r.VolumeCapability.GetMount().VolumeMountGroup = group
		r.Secrets = map[string]string{secretKey: secret, contract.TokensSecret: tokens}
		_, err := n.NodePublishVolume(t.Context(), r)
		if err == nil {
			return
		}
		if said := status.Convert(err); said.Code() != codes.InvalidArgument || len(said.Message()) > 2*maxMessage {
			t.Errorf("%d bytes: %v", len(said.Message()), err)
		}
	})
}

// checkPublish holds what must be true of every request that is let through.
func checkPublish(t *testing.T, r *csi.NodePublishVolumeRequest) {
	t.Helper()
	got, err := testRequests.publish(r)
	if err != nil {
		if status.Code(err) != codes.InvalidArgument {
			t.Errorf("an error of code %s: %v", status.Code(err), err)
		}
		return
	}
	if !strings.HasPrefix(got.Target, kubeletRoot+"/") || strings.Contains(got.Target, "/../") || strings.HasSuffix(got.Target, "/..") ||
		strings.ContainsRune(got.Target, 0) || len(got.Target) > maxPath {
		t.Errorf("target %q was let through", got.Target)
	}
	if got.VolumeID == "" || len(got.VolumeID) > maxVolumeID {
		t.Errorf("volume ID %q was let through", got.VolumeID)
	}
	again, err := parseReference(got.Image)
	if err != nil || again.String() != got.Image {
		t.Errorf("image %q is not normalised: %v", got.Image, err)
	}
	if got.Writable && (r.GetReadonly() || r.GetVolumeContext()["csi.storage.k8s.io/ephemeral"] != "true") {
		t.Errorf("writable: %+v", r)
	}
}

func TestThePodsGroupIsTakenForWritableVolumes(t *testing.T) {
	withGroup := func(group string, readOnly bool) *csi.NodePublishVolumeRequest {
		return but(inline(), func(r *csi.NodePublishVolumeRequest) {
			r.VolumeCapability.GetMount().VolumeMountGroup = group
			r.Readonly = readOnly
		})
	}
	r, err := testRequests.publish(withGroup("4294967294", false))
	if err != nil || r.Group == nil || *r.Group != 4294967294 {
		t.Errorf("%v, %v", r.Group, err)
	}
	for _, none := range []*csi.NodePublishVolumeRequest{withGroup("", false), withGroup("2000", true)} {
		if r, err := testRequests.publish(none); err != nil || r.Group != nil {
			t.Errorf("%v, %v", r.Group, err)
		}
	}
	for _, bad := range []string{"-1", "4294967295", "wheel", " 1"} {
		if _, err := testRequests.publish(withGroup(bad, false)); status.Code(err) != codes.InvalidArgument {
			t.Errorf("%q: %v", bad, err)
		}
	}
}
