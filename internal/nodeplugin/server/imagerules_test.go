package server

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/image-csi/image-csi-operator/internal/contract"
	"github.com/image-csi/image-csi-operator/internal/nodeplugin/content"
	"github.com/image-csi/image-csi-operator/internal/nodeplugin/imagerules"
	"github.com/image-csi/image-csi-operator/internal/nodeplugin/volume"
)

// What an image must not hold goes to where its tree is known, and the answer is no lack of access.
func TestTheContentThatTheDriverRefusesIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "rules.json")
	if err := os.WriteFile(path, []byte(`{"refusedContent": ["DeviceNodes"]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	conn, _ := serve(t, Config{Images: imagerules.File(path), Volumes: volumes{
		publish: func(_ context.Context, r volume.Request) error {
			if r.Refused != nil || !slices.Equal(r.RefusedContent, []contract.ImageContent{contract.ContentDeviceNodes}) {
				t.Errorf("%v, %q", r.Refused, r.RefusedContent)
			}
			return fmt.Errorf("image may not be a volume: it holds a device node, and %w", content.ErrRefused)
		},
	}})
	for _, request := range []*csi.NodePublishVolumeRequest{inline("image", "busybox"), persistent("busybox", many), inline("image", "busybox", "secret", "s")} {
		_, err := csi.NewNodeClient(conn).NodePublishVolume(t.Context(), request)
		if status.Code(err) != codes.FailedPrecondition || strings.Contains(err.Error(), "nodePublishSecretRef") {
			t.Error(err)
		}
	}
}

// The driver's rules apply to every kind of volume, by the image that is mounted and not by how it is spelled.
func TestImagesThatTheDriverDoesNotAllowAreRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "rules.json")
	rules := func(text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	conn, _ := serve(t, Config{Images: imagerules.File(path), Volumes: volumes{
		publish: func(_ context.Context, r volume.Request) error { return r.Refused },
	}})
	node := csi.NewNodeClient(conn)
	rules(`{"allowedImages": ["docker.io/library/busybox"]}`)
	for _, request := range []*csi.NodePublishVolumeRequest{
		inline("image", "evil"), inline("image", "BUSYBOX/busybox"), inline("image", "busybox", "volumeHandle", "evil"),
		persistent("evil", many), persistent("busybox", single, "image", "evil"),
	} {
		_, err := node.NodePublishVolume(t.Context(), request)
		if status.Code(err) != codes.PermissionDenied || !strings.Contains(err.Error(), "allowed are docker.io/library/busybox") {
			t.Errorf("%v: %v", request, err)
		}
	}
	_, err := node.NodePublishVolume(t.Context(), inline("image", "evil", "secret", "s"))
	if err == nil || strings.Contains(err.Error(), "nodePublishSecretRef") {
		t.Error("the error names a missing secret:", err)
	}
	for _, request := range []*csi.NodePublishVolumeRequest{inline("image", "busybox:1"), persistent("index.docker.io/busybox", many)} {
		if _, err := node.NodePublishVolume(t.Context(), request); err != nil {
			t.Error(err)
		}
	}
	rules(`{"allowedImages": ["docker.io/library/evil"]}`)
	if _, err := node.NodePublishVolume(t.Context(), inline("image", "evil")); err != nil {
		t.Error("after a change:", err)
	}
	rules(``)
	if _, err := node.NodePublishVolume(t.Context(), inline("image", "evil")); status.Code(err) != codes.Unavailable {
		t.Error("with rules that cannot be read:", err)
	}
}
