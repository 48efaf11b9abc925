package kubeletpods

import (
	"crypto/sha256"
	"encoding/hex"
	"path/filepath"
	"slices"
	"strings"
)

// Dir is the path of the kubelet's directory of pods. In it is a directory for each pod on the node, named by the pod's UID.
type Dir string

// Beneath returns the directory of pods of the kubelet with this root directory.
func Beneath(kubeletRoot string) Dir { return Dir(filepath.Join(kubeletRoot, "pods")) }

// PodOf returns the UID of the pod that a target is in. ok is false for a target outside the directory of pods.
func (d Dir) PodOf(target string) (uid string, ok bool) {
	rest, ok := strings.CutPrefix(target, string(d)+"/")
	if !ok {
		return "", false
	}
	uid, _, ok = strings.Cut(rest, "/")
	return uid, ok && uid != "" && uid != "." && uid != ".."
}

// IsGone reports whether the kubelet has certainly forgotten the pod of a target, given the names in the directory of pods. It
// is false for a target that is not a pod's, and where there are no names at all: this process runs in a pod, so the directory
// is never empty on the node itself.
func (d Dir) IsGone(target string, pods []string) bool {
	uid, ok := d.PodOf(target)
	return ok && len(pods) > 0 && !slices.Contains(pods, uid)
}

// csiVolumes is where the kubelet keeps a directory for each CSI volume of a pod, beneath the pod's.
const csiVolumes = "volumes/kubernetes.io~csi"

// VolumesOf returns the directory in which the kubelet keeps a directory for each CSI volume of a pod, named as the pod names
// the volume.
func (d Dir) VolumesOf(uid string) string { return filepath.Join(string(d), uid, csiVolumes) }

// TargetOf returns the target of a CSI volume of a pod: getTargetPath in
// https://github.com/kubernetes/kubernetes/blob/v1.36.4/pkg/volume/csi/csi_mounter.go.
func (d Dir) TargetOf(uid, name string) string { return filepath.Join(d.VolumesOf(uid), name, "mount") }

// IsTarget reports whether a path is the target of a CSI volume of a pod.
func (d Dir) IsTarget(path string) bool {
	uid, ok := d.PodOf(path)
	return ok && path == d.TargetOf(uid, filepath.Base(filepath.Dir(path)))
}

// InlineVolumeID is the volume ID that the kubelet gives an inline volume: makeVolumeHandle in
// https://github.com/kubernetes/kubernetes/blob/v1.36.4/pkg/volume/csi/csi_mounter.go.
func InlineVolumeID(uid, name string) string {
	sum := sha256.Sum256([]byte(uid + name))
	return "csi-" + hex.EncodeToString(sum[:])
}

// InlineVolumeAt returns the volume ID that an inline volume has at a target; empty if the kubelet publishes none there.
func (d Dir) InlineVolumeAt(target string) (volumeID string) {
	if !d.IsTarget(target) {
		return ""
	}
	uid, _ := d.PodOf(target)
	return InlineVolumeID(uid, filepath.Base(filepath.Dir(target)))
}
