package server

import (
	"context"

	"github.com/container-storage-interface/spec/lib/go/csi"

	"github.com/image-csi/image-csi-operator/internal/nodeplugin/hostmount"
)

// NodeGetVolumeStats returns how much a volume holds. The kubelet asks about once a minute for each volume, and shows
// the answer in its summary API and the kubelet_volume_stats_* metrics.
func (n *node) NodeGetVolumeStats(ctx context.Context, r *csi.NodeGetVolumeStatsRequest) (*csi.NodeGetVolumeStatsResponse, error) {
	if err := n.requests.look(r.GetVolumeId(), r.GetVolumePath()); err != nil {
		return nil, err
	}
	stats, err := n.volumes.Stats(ctx, r.GetVolumeId(), r.GetVolumePath())
	if err != nil {
		return nil, toStatus(err)
	}
	return &csi.NodeGetVolumeStatsResponse{Usage: []*csi.VolumeUsage{
		usage(csi.VolumeUsage_BYTES, stats.Bytes),
		usage(csi.VolumeUsage_INODES, stats.Inodes),
	}}, nil
}

func usage(unit csi.VolumeUsage_Unit, c hostmount.Capacity) *csi.VolumeUsage {
	return &csi.VolumeUsage{Unit: unit, Total: c.Total, Used: c.Used, Available: c.Available}
}

// NodeGetVolumeHealth returns what is wrong with a volume, in a sentence. Nothing is known of a volume without a path.
func (n *node) NodeGetVolumeHealth(ctx context.Context, r *csi.NodeGetVolumeHealthRequest) (*csi.NodeGetVolumeHealthResponse, error) {
	health := &csi.VolumeHealth{VolumeId: r.GetVolumeId()}
	if r.GetVolumeId() != "" && r.GetVolumePublishPath() == "" {
		return &csi.NodeGetVolumeHealthResponse{VolumeHealth: health}, nil
	}
	if err := n.requests.look(r.GetVolumeId(), r.GetVolumePublishPath()); err != nil {
		return nil, err
	}
	problem, err := n.volumes.Health(ctx, r.GetVolumeId(), r.GetVolumePublishPath())
	if err != nil {
		return nil, toStatus(err)
	}
	if problem != nil {
		health.HealthStatuses = []*csi.VolumeHealth_VolumeHealthEntry{{
			Status: csi.VolumeHealthErrorType_INACCESSIBLE, Reason: problem.Reason, Message: problem.Message,
		}}
	}
	return &csi.NodeGetVolumeHealthResponse{VolumeHealth: health}, nil
}
