package nodes

import (
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/image-csi/image-csi-operator/internal/contract"
)

// Volume is a publish request in the words of a test.
type Volume struct {
	ID         string // names the pod; a PersistentVolume's handle, too
	Image      string
	Inline     bool
	ReadOnly   bool
	AccessMode csi.VolumeCapability_AccessMode_Mode
	Attributes map[string]string
	Secrets    map[string]string
}

// Path is where a volume is published, as the node sees it.
func (p *Plugin) Path(id string) string {
	return filepath.Join(KubeletRoot, "pods", "pod-"+id, "volumes/kubernetes.io~csi", volumeName, "mount")
}

// volumeName is what the pod's manifest calls the volume.
const volumeName = "image"

// InlineID is the volume ID that the kubelet makes up for a pod's inline volume.
func InlineID(podUID, volume string) string {
	return fmt.Sprintf("csi-%x", sha256.Sum256([]byte(podUID+volume)))
}

// VolumeID is the kubelet's ID of the volume that was published with an ID.
func (p *Plugin) VolumeID(id string) string {
	if _, persistent := p.persistent.Load(id); persistent {
		return id
	}
	return InlineID("pod-"+id, volumeName)
}

// Request is what the kubelet would send.
func (v Volume) Request(target string) *csi.NodePublishVolumeRequest {
	mode := v.AccessMode
	if mode == csi.VolumeCapability_AccessMode_UNKNOWN {
		mode = csi.VolumeCapability_AccessMode_SINGLE_NODE_WRITER
		if !v.Inline {
			mode = csi.VolumeCapability_AccessMode_MULTI_NODE_READER_ONLY
		}
	}
	attributes := map[string]string{
		contract.PodNameAttribute: "pod-" + v.ID, contract.PodNamespaceAttribute: "default", "csi.storage.k8s.io/pod.uid": "pod-" + v.ID,
		contract.EphemeralAttribute: fmt.Sprint(v.Inline),
	}
	if v.Image != "" {
		attributes[contract.ImageAttribute] = v.Image
	}
	for key, value := range v.Attributes {
		attributes[key] = value
	}
	id := v.ID
	if v.Inline {
		id = InlineID("pod-"+v.ID, volumeName)
	}
	return &csi.NodePublishVolumeRequest{
		VolumeId: id, TargetPath: target, Readonly: v.ReadOnly, VolumeContext: attributes, Secrets: v.Secrets,
		VolumeCapability: &csi.VolumeCapability{
			AccessType: &csi.VolumeCapability_Mount{Mount: &csi.VolumeCapability_MountVolume{}},
			AccessMode: &csi.VolumeCapability_AccessMode{Mode: mode},
		},
	}
}

// Publish publishes a volume as the kubelet does, which makes the parent directory, and returns the tree's path as seen
// from the test.
func (p *Plugin) Publish(t testing.TB, v Volume) (string, error) {
	t.Helper()
	target := p.Path(v.ID)
	if err := os.MkdirAll(filepath.Dir(filepath.Join(p.Target.Root(), target)), 0o755); err != nil {
		t.Fatal(err)
	}
	if !v.Inline {
		p.persistent.Store(v.ID, true)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	_, err := p.NodePublishVolume(ctx, v.Request(target))
	return filepath.Join(p.Target.Root(), target), err
}

// MustPublish publishes a volume or ends the test.
func (p *Plugin) MustPublish(t testing.TB, v Volume) string {
	t.Helper()
	path, err := p.Publish(t, v)
	for status.Code(err) == codes.Aborted && t.Context().Err() == nil { // as the kubelet does while a pull goes on
		path, err = p.Publish(t, v)
	}
	if err != nil {
		t.Fatalf("publish %s: %v", v.Image, err)
	}
	return path
}

// TryUnpublish unpublishes a volume.
func (p *Plugin) TryUnpublish(t testing.TB, id string) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	_, err := p.NodeUnpublishVolume(ctx, &csi.NodeUnpublishVolumeRequest{VolumeId: p.VolumeID(id), TargetPath: p.Path(id)})
	return err
}

// Unpublish does what the kubelet does when the pod is gone, the pod's directory included.
func (p *Plugin) Unpublish(t testing.TB, id string) {
	t.Helper()
	if err := p.TryUnpublish(t, id); err != nil {
		t.Fatalf("unpublish %s: %v", id, err)
	}
	path := filepath.Join(p.Target.Root(), p.Path(id))
	if _, err := os.Lstat(path); !os.IsNotExist(err) {
		t.Errorf("the target %s is still there after unpublish (%v)", path, err)
	}
	if err := os.RemoveAll(filepath.Join(p.Target.Root(), KubeletRoot, "pods", "pod-"+id)); err != nil {
		t.Error(err)
	}
}

// Read returns the content of a file, whose path is given in parts.
func Read(t testing.TB, path ...string) string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(path...))
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}
