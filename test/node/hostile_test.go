package node

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/image-csi/image-csi-operator/internal/contract"
	"github.com/image-csi/image-csi-operator/test/internal/nodes"
)

// long is a string longer than any field has to be.
var long = strings.Repeat("x", 1<<20)

// inPod is where a pod has a volume.
const inPod = "volumes/kubernetes.io~csi/v/mount"

// hostileTargets are paths at which nothing may be mounted or unmounted.
func hostileTargets() []string {
	const pods = nodes.KubeletRoot + "/pods"
	return []string{
		"", "/", ".", "..", "relative/mount", "/etc/hostile", "/proc/1/root/etc/hostile", nodes.KubeletRoot, pods + "/../../../../etc/hostile",
		pods + "/hostile/../../../../etc/hostile", pods + "//hostile/mount", pods + "/hostile/.", pods + "/hostile\x00/mount",
		pods + "/hostile\n/mount", nodes.KubeletRoot + "-not/pods/hostile/mount", nodes.KubeletRoot + "/plugins/hostile/mount",
		nodes.KubeletRoot + "/plugins_registry/hostile", pods + "/" + long, pods + strings.Repeat("/hostile", 600),
		nodes.KubeletRoot + "/hostile", pods + "/hostile", pods + "/hostile/mount", pods + "/hostile/volumes/kubernetes.io~empty-dir/v/mount",
		pods + "/hostile/volumes/kubernetes.io~csi/mount", pods + "/hostile/volumes/kubernetes.io~csi/v/mount/sub",
		pods + "/hostile/volume-subpaths/v/c/0",
		pods + "/link/mount", pods + "/link-in-place-of-the-target", pods + "/file/mount",
		pods + "/link/" + inPod, pods + "/linked/" + inPod, pods + "/file/" + inPod,
	}
}

func TestHostileTargetsAreRefusedAndNothingIsTouched(t *testing.T) {
	suite.OnEveryNode(t, func(t *testing.T, p *nodes.Plugin) {
		outside := prepareHostileTargets(t, p)
		for _, target := range hostileTargets() {
			name := fmt.Sprintf("%.60q", target)
			for _, readOnly := range []bool{true, false} {
				request := nodes.Volume{ID: "hostile", Image: nodes.Numbered(2), Inline: true, ReadOnly: readOnly}.Request(target)
				_, err := p.NodePublishVolume(t.Context(), request)
				wantRefusal(t, "publish at "+name, err)
			}
			// Nothing was published there, so an unpublish may find nothing to do, but it must not do anything.
			if _, err := p.NodeUnpublishVolume(t.Context(), &csi.NodeUnpublishVolumeRequest{VolumeId: "hostile", TargetPath: target}); err != nil {
				wantRefusal(t, "unpublish at "+name, err)
			}
		}
		if content, err := os.ReadFile(filepath.Join(outside, "kept")); err != nil || string(content) != "kept" {
			t.Errorf("outside there is %q (%v)", content, err)
		}
		if entries, err := os.ReadDir(outside); err != nil || len(entries) != 1 {
			t.Errorf("outside there are %v (%v)", entries, err)
		}
		wantAsBefore(t, p)
	})
}

// prepareHostileTargets makes the links and the file that hostileTargets name, and returns the directory to which the
// links lead.
func prepareHostileTargets(t *testing.T, p *nodes.Plugin) (outside string) {
	t.Helper()
	pods := filepath.Join(p.Target.Root(), nodes.KubeletRoot, "pods")
	outside = filepath.Join(p.Target.Root(), "opt/outside")
	inNode := "/opt/outside"
	linked := filepath.Join(pods, "linked")
	links := []string{filepath.Join(pods, "link"), filepath.Join(pods, "link-in-place-of-the-target"), filepath.Join(linked, inPod)}
	file := filepath.Join(pods, "file")
	t.Cleanup(func() {
		for _, path := range append(links, file, outside, linked) {
			if err := os.RemoveAll(path); err != nil {
				t.Error(err)
			}
		}
	})
	err := errors.Join(os.MkdirAll(outside, 0o755), os.WriteFile(filepath.Join(outside, "kept"), []byte("kept"), 0o600),
		os.Symlink(inNode, links[0]), os.Symlink(inNode, links[1]), os.MkdirAll(filepath.Dir(links[2]), 0o755), os.Symlink(inNode, links[2]),
		os.WriteFile(file, nil, 0o600))
	if err != nil {
		t.Fatal(err)
	}
	return outside
}

func TestHostileFieldsAreRefused(t *testing.T) {
	attribute := func(key, value string) func(*csi.NodePublishVolumeRequest) {
		return func(r *csi.NodePublishVolumeRequest) { r.VolumeContext[key] = value }
	}
	secret := func(key, value string) func(*csi.NodePublishVolumeRequest) {
		return func(r *csi.NodePublishVolumeRequest) { r.Secrets = map[string]string{key: value} }
	}
	tests := map[string]func(*csi.NodePublishVolumeRequest){
		"a volume ID of 1 MiB":      func(r *csi.NodePublishVolumeRequest) { r.VolumeId = long },
		"a volume ID with a NUL":    func(r *csi.NodePublishVolumeRequest) { r.VolumeId = "a\x00b" },
		"a volume ID of two lines":  func(r *csi.NodePublishVolumeRequest) { r.VolumeId = "a\nb" },
		"no volume ID":              func(r *csi.NodePublishVolumeRequest) { r.VolumeId = "" },
		"an image of 1 MiB":         attribute(contract.ImageAttribute, long),
		"an image with a NUL":       attribute(contract.ImageAttribute, nodes.Numbered(2)+"\x00"),
		"an image that is a path":   attribute(contract.ImageAttribute, "../../../../etc/passwd"),
		"a pull policy of 1 MiB":    attribute(contract.PullPolicyAttribute, long),
		"a size limit of 1 MiB":     attribute("sizeLimit", long),
		"a pod of 1 MiB":            attribute(contract.PodNameAttribute, long),
		"any attribute of 1 MiB":    attribute("any", long),
		"an attribute named 1 MiB":  attribute(long, "any"),
		"a secret of 1 MiB":         secret(".dockerconfigjson", long),
		"a secret of 1 MiB of JSON": secret(".dockerconfigjson", `{"auths":`+strings.Repeat("[", 1<<20)),
		"a secret of another kind":  secret("any", long),
		"tokens of 1 MiB":           secret("csi.storage.k8s.io/serviceAccount.tokens", long),
		"a group that is a name":    func(r *csi.NodePublishVolumeRequest) { r.VolumeCapability.GetMount().VolumeMountGroup = long },
		"a mount option of 1 MiB":   func(r *csi.NodePublishVolumeRequest) { r.VolumeCapability.GetMount().MountFlags = []string{long} },
		"10,000 attributes": func(r *csi.NodePublishVolumeRequest) {
			for i := range 10_000 {
				r.VolumeContext[fmt.Sprintf("attribute-%d", i)] = "value"
			}
		},
		"5 MiB in all": func(r *csi.NodePublishVolumeRequest) { r.VolumeContext["any"] = strings.Repeat(long, 5) },
	}
	suite.OnEveryNode(t, func(t *testing.T, p *nodes.Plugin) {
		for what, change := range tests {
			request := nodes.Volume{ID: "hostile", Image: nodes.Numbered(2), Inline: true}.Request(p.Path("hostile"))
			change(request)
			_, err := p.NodePublishVolume(t.Context(), request)
			wantRefusal(t, what, err)
		}
		wantAsBefore(t, p)
	})
}

// A client that is not Go's sends what Go's does not.
func TestHostileMessagesAreRefused(t *testing.T) {
	const mark = "MARK"
	suite.OnEveryNode(t, func(t *testing.T, p *nodes.Plugin) {
		good := nodes.Volume{ID: mark, Image: nodes.Numbered(2), Inline: true, Attributes: map[string]string{"any": mark}}.Request(p.Path(mark))
		message, err := proto.Marshal(good)
		if err != nil {
			t.Fatal(err)
		}
		messages := map[string][]byte{
			"invalid UTF-8":   []byte(strings.ReplaceAll(string(message), mark, "\xff\xfe\xfd\xfc")),
			"half a message":  message[:len(message)/2],
			"no message":      []byte(long),
			"a lying length":  slices.Concat([]byte{0x0a, 0xff, 0xff, 0xff, 0xff, 0x07}, message),
			"the wrong types": {0x08, 0x01, 0x10, 0x01, 0x18, 0x01, 0x20, 0x01},
			"nothing":         {},
		}
		for what, message := range messages {
			for _, method := range []string{"NodePublishVolume", "NodeUnpublishVolume", "NodeGetVolumeStats"} {
				err := p.Conn().Invoke(t.Context(), "/csi.v1.Node/"+method, &message, &[]byte{}, grpc.ForceCodec(raw{}))
				// gRPC's own refusal is Internal.
				if code := status.Code(err); code != codes.InvalidArgument && (code != codes.Internal || !strings.Contains(err.Error(), "unmarshal")) {
					t.Errorf("%s to %s: got %v", what, method, err)
				}
			}
		}
		wantAsBefore(t, p)
	})
}

// raw is a codec that sends bytes as they are.
type raw struct{}

func (raw) Name() string { return "proto" }

func (raw) Marshal(v any) ([]byte, error) { return *v.(*[]byte), nil }

func (raw) Unmarshal(data []byte, v any) error {
	*v.(*[]byte) = data
	return nil
}

// wantRefusal wants the plugin's refusal, or gRPC's of a message that is too large, in few words that no secret is
// among.
func wantRefusal(t *testing.T, what string, err error) {
	t.Helper()
	code := status.Code(err)
	if code != codes.InvalidArgument && (code != codes.ResourceExhausted || !strings.Contains(err.Error(), "larger than max")) {
		t.Errorf("%s: got %.300v", what, err)
	}
	if len(fmt.Sprint(err)) > 1024 {
		t.Errorf("%s: the answer has %d bytes", what, len(fmt.Sprint(err)))
	}
}

// wantAsBefore wants the process to be the same one, nothing left by it, and a volume published as ever.
func wantAsBefore(t *testing.T, p *nodes.Plugin) {
	t.Helper()
	if left := p.Mounts(t); len(left) != 0 {
		t.Errorf("mounts are left: %q", left)
	}
	wantNothingOf(t, p, "hostile", 0)
	if left, err := filepath.Glob(filepath.Join(p.Target.Root(), nodes.KubeletRoot, "pods/*hostile*")); err != nil || len(left) != 0 {
		t.Errorf("left %v (%v)", left, err)
	}
	if len(p.Said()) > 1<<20 {
		t.Errorf("the log has %d bytes", len(p.Said()))
	}
	ctx, cancel := context.WithTimeout(t.Context(), quick)
	defer cancel()
	if _, err := p.GetPluginInfo(ctx, &csi.GetPluginInfoRequest{}); err != nil {
		t.Fatalf("the plugin has gone: %v", err)
	}
	p.Alive(t)
	good := nodes.Volume{ID: "good", Image: nodes.Numbered(2), Inline: true}
	p.MustPublish(t, good)
	p.Unpublish(t, good.ID)
}
