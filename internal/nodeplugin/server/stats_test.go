package server

import (
	"slices"
	"testing"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/image-csi/image-csi-operator/internal/nodeplugin/hostmount"
	"github.com/image-csi/image-csi-operator/internal/nodeplugin/volume"
)

func TestStatisticsHealthAndGroupsAreClaimed(t *testing.T) {
	conn, _ := serve(t, Config{Volumes: volumes{}})
	response, err := csi.NewNodeClient(conn).NodeGetCapabilities(t.Context(), &csi.NodeGetCapabilitiesRequest{})
	if err != nil {
		t.Fatal(err)
	}
	var got []csi.NodeServiceCapability_RPC_Type
	for _, c := range response.GetCapabilities() {
		got = append(got, c.GetRpc().GetType())
	}
	for _, want := range []csi.NodeServiceCapability_RPC_Type{
		csi.NodeServiceCapability_RPC_GET_VOLUME_STATS, csi.NodeServiceCapability_RPC_GET_VOLUME_HEALTH,
		csi.NodeServiceCapability_RPC_VOLUME_MOUNT_GROUP,
	} {
		if !slices.Contains(got, want) {
			t.Errorf("%s is not in %v", want, got)
		}
	}
}

func TestStatisticsAreBytesAndInodes(t *testing.T) {
	conn, _ := serve(t, Config{Volumes: volumes{stats: volume.Stats{
		Bytes:  hostmount.Capacity{Total: 100, Used: 60, Available: 40},
		Inodes: hostmount.Capacity{Total: 10, Used: 6, Available: 4},
	}}})
	response, err := csi.NewNodeClient(conn).NodeGetVolumeStats(t.Context(), &csi.NodeGetVolumeStatsRequest{VolumeId: "csi-1", VolumePath: somewhere})
	if err != nil || len(response.GetUsage()) != 2 {
		t.Fatalf("%v, %v", response, err)
	}
	bytes, inodes := response.GetUsage()[0], response.GetUsage()[1]
	if bytes.GetUnit() != csi.VolumeUsage_BYTES || bytes.GetTotal() != 100 || bytes.GetUsed() != 60 || bytes.GetAvailable() != 40 ||
		inodes.GetUnit() != csi.VolumeUsage_INODES || inodes.GetTotal() != 10 || inodes.GetUsed() != 6 || inodes.GetAvailable() != 4 {
		t.Errorf("%v", response)
	}
}

func TestHealthHasAWordAndASentence(t *testing.T) {
	conn, _ := serve(t, Config{Volumes: volumes{problem: &volume.Problem{Reason: "LayersRemoved", Message: "Gone."}}})
	r := &csi.NodeGetVolumeHealthRequest{VolumeId: "csi-1", VolumePublishPath: somewhere}
	response, err := csi.NewNodeClient(conn).NodeGetVolumeHealth(t.Context(), r)
	entries := response.GetVolumeHealth().GetHealthStatuses()
	if err != nil || len(entries) != 1 || entries[0].GetStatus() != csi.VolumeHealthErrorType_INACCESSIBLE ||
		entries[0].GetReason() != "LayersRemoved" || entries[0].GetMessage() != "Gone." {
		t.Errorf("%v, %v", response, err)
	}
	conn, _ = serve(t, Config{Volumes: volumes{}})
	response, err = csi.NewNodeClient(conn).NodeGetVolumeHealth(t.Context(), r)
	if err != nil || response.GetVolumeHealth().GetVolumeId() != "csi-1" || len(response.GetVolumeHealth().GetHealthStatuses()) != 0 {
		t.Errorf("%v, %v", response, err)
	}
}

func TestWhatIsNotAVolumeIsNotFound(t *testing.T) {
	conn, _ := serve(t, Config{Volumes: volumes{lookErr: volume.ErrNotPublished}})
	client := csi.NewNodeClient(conn)
	for _, tt := range []struct {
		id, path string
		want     codes.Code
	}{
		{"", somewhere, codes.InvalidArgument}, {"csi-1", "", codes.InvalidArgument},
		{"csi-1", "some/path", codes.NotFound}, {"csi-1", "/etc", codes.NotFound}, {"csi-1", somewhere, codes.NotFound},
	} {
		_, err := client.NodeGetVolumeStats(t.Context(), &csi.NodeGetVolumeStatsRequest{VolumeId: tt.id, VolumePath: tt.path})
		if status.Code(err) != tt.want {
			t.Errorf("statistics of %q at %q: %v", tt.id, tt.path, err)
		}
		_, err = client.NodeGetVolumeHealth(t.Context(), &csi.NodeGetVolumeHealthRequest{VolumeId: tt.id, VolumePublishPath: tt.path})
		if status.Code(err) != tt.want && tt.path != "" {
			t.Errorf("health of %q at %q: %v", tt.id, tt.path, err)
		}
	}
}
