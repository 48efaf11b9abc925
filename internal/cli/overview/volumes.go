package overview

import (
	"strings"

	"github.com/image-csi/image-csi-operator/internal/cli/document"
	"github.com/image-csi/image-csi-operator/internal/cli/imagevolumes"
	"github.com/image-csi/image-csi-operator/internal/cli/seen"
)

// VolumeFilter chooses volumes.
type VolumeFilter struct {
	// Node of their pods; empty for all.
	Node string
	// Image is a part of the image's name; empty for all.
	Image string
}

// Volumes lists the image volumes of pods.
func Volumes(cluster seen.Cluster, filter VolumeFilter) document.Volumes {
	items := []document.Volume{}
	for i := range cluster.Pods {
		pod := &cluster.Pods[i]
		if filter.Node != "" && pod.Spec.NodeName != filter.Node {
			continue
		}
		for _, volume := range imagevolumes.Of(cluster, pod) {
			if strings.Contains(volume.Image, filter.Image) {
				items = append(items, volume.Volume)
			}
		}
	}
	return document.NewVolumes(items, cluster.Unread)
}
