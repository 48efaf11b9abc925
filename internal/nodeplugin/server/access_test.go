package server

import (
	"context"
	"strings"
	"testing"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/image-csi/image-csi-operator/internal/contract"
	"github.com/image-csi/image-csi-operator/internal/nodeplugin/volume"
)

func TestAReadOnlyDriverRefusesWritableVolumesAndSaysWhatToSet(t *testing.T) {
	for access, writable := range map[contract.Access]codes.Code{
		"": codes.OK, contract.AccessReadWrite: codes.OK, contract.AccessReadOnly: codes.InvalidArgument,
	} {
		conn, _ := serve(t, Config{Access: access, Volumes: volumes{
			// The layer below refuses what is not published yet.
			publish: func(_ context.Context, r volume.Request) error { return r.Refused },
		}})
		node := csi.NewNodeClient(conn)
		_, err := node.NodePublishVolume(t.Context(), inline("image", "busybox"))
		if status.Code(err) != writable {
			t.Errorf("%q: a writable volume: %v", access, err)
		}
		if err != nil && (!strings.Contains(err.Error(), "readOnly: true") || !strings.Contains(err.Error(), "spec.volumes.access")) {
			t.Errorf("%q: %v", access, err)
		}
		readOnly := inline("image", "busybox")
		readOnly.Readonly = true
		for _, request := range []*csi.NodePublishVolumeRequest{readOnly, persistent("busybox", many), persistent("busybox", single)} {
			if _, err := node.NodePublishVolume(t.Context(), request); err != nil {
				t.Errorf("%q: a read-only volume: %v", access, err)
			}
		}
	}
}
