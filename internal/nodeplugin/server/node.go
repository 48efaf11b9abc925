package server

import (
	"context"

	"github.com/container-storage-interface/spec/lib/go/csi"

	"github.com/image-csi/image-csi-operator/internal/nodeplugin/legacy"
	"github.com/image-csi/image-csi-operator/internal/nodeplugin/words"
)

// node is the Node service (CSI spec, "Node Service RPC"). Calls that it does not implement are answered Unimplemented.
type node struct {
	csi.UnimplementedNodeServer
	nodeID     string
	maxVolumes int64
	volumes    Volumes
	requests   requests
}

// NodePublishVolume mounts an image at the target path.
func (n *node) NodePublishVolume(ctx context.Context, request *csi.NodePublishVolumeRequest) (*csi.NodePublishVolumeResponse, error) {
	r, err := n.requests.publish(request)
	if err != nil {
		return nil, err
	}
	hint := legacy.UnreadSecret(request.GetVolumeContext())
	if hint != "" {
		n.requests.log.Warn(hint, "volume", words.Shorten(r.VolumeID, 256), "pod", r.Pod)
	}
	if err := n.volumes.Publish(ctx, r); err != nil {
		return nil, toStatus(withHint(err, hint))
	}
	return &csi.NodePublishVolumeResponse{}, nil
}

// NodeUnpublishVolume unmounts the volume from the target path.
func (n *node) NodeUnpublishVolume(ctx context.Context, request *csi.NodeUnpublishVolumeRequest) (*csi.NodeUnpublishVolumeResponse, error) {
	if err := n.requests.unpublish(request); err != nil {
		return nil, err
	}
	if err := n.volumes.Unpublish(ctx, request.GetVolumeId(), request.GetTargetPath()); err != nil {
		return nil, toStatus(err)
	}
	return &csi.NodeUnpublishVolumeResponse{}, nil
}

// NodeGetCapabilities claims volume statistics, volume health, and that the driver applies the pod's group itself; no staging
// and no expansion. Health replaced the volume condition in CSI 1.13; a kubelet that does not know it ignores it.
func (n *node) NodeGetCapabilities(context.Context, *csi.NodeGetCapabilitiesRequest) (*csi.NodeGetCapabilitiesResponse, error) {
	response := &csi.NodeGetCapabilitiesResponse{}
	for _, capability := range []csi.NodeServiceCapability_RPC_Type{
		csi.NodeServiceCapability_RPC_GET_VOLUME_STATS,
		csi.NodeServiceCapability_RPC_GET_VOLUME_HEALTH,
		csi.NodeServiceCapability_RPC_VOLUME_MOUNT_GROUP,
	} {
		response.Capabilities = append(response.Capabilities, &csi.NodeServiceCapability{
			Type: &csi.NodeServiceCapability_Rpc{Rpc: &csi.NodeServiceCapability_RPC{Type: capability}},
		})
	}
	return response, nil
}

// NodeGetInfo returns the node's name and its limit of volumes. There is no topology: an image can be mounted on any node, and
// a hostname segment would keep the kubelet from registering the driver where the hostname label is not the node's name.
func (n *node) NodeGetInfo(context.Context, *csi.NodeGetInfoRequest) (*csi.NodeGetInfoResponse, error) {
	return &csi.NodeGetInfoResponse{NodeId: n.nodeID, MaxVolumesPerNode: n.maxVolumes}, nil
}
