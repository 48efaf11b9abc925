package volume

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/image-csi/image-csi-operator/internal/nodeplugin/hostmount"
)

// Unpublish removes a volume: its mount, its target directory and, for a writable volume, its data, which lives as long as
// its pod. To unpublish what is not there is success. Unpublish returns when the data is renamed away. The data is removed
// later, however much it is, and a sweep releases the image. Errors: hostmount.ErrBusy, hostmount.ErrNotEmpty.
func (n *Node) Unpublish(ctx context.Context, volumeID, target string) error {
	unlock, err := n.targets.Lock(ctx, target)
	if err != nil {
		return fmt.Errorf("unpublishing volume %q: %w", volumeID, ErrInProgress)
	}
	defer unlock()
	if err := n.copying.stop(ctx, directoryName(volumeID, target)); err != nil {
		return fmt.Errorf("unpublishing volume %q: %w", volumeID, err)
	}
	err = n.mounter.Unmount(ctx, target)
	if errors.Is(err, hostmount.ErrNotEmpty) {
		err = n.keep(ctx, volumeID, target)
	}
	if err != nil {
		return fmt.Errorf("volume %q: %w", volumeID, err)
	}
	if _, err := n.setAside(directoryName(volumeID, target)); err != nil {
		return fmt.Errorf("setting aside the data of volume %q: %w", volumeID, err)
	}
	n.legacy.Unpublished(ctx, volumeID, target)
	n.Wake()
	return nil
}

// keep moves a target's directory, with files that were written where nothing was mounted, to a place where the administrator
// finds it. Then the pod, which waits for the directory to go (CSI spec, NodeUnpublishVolume), can end, and nothing is lost:
// whether the files are the pod's is not known here.
func (n *Node) keep(ctx context.Context, volumeID, target string) error {
	pod, ok := n.pods.PodOf(target)
	if !ok || len(pod) > maxUID {
		pod = "target"
	}
	to := filepath.Join(n.keptDir, pod+"."+rand.Text())
	if err := n.mounter.MoveDir(ctx, target, to); err != nil {
		return fmt.Errorf("%w: %s; a pod wrote them while its volume was not mounted. They could not be moved to %s (%w): move "+
			"them away on the node", hostmount.ErrNotEmpty, target, to, err)
	}
	n.log.Warn("files were written to a volume's directory while nothing was mounted there; they are kept until an administrator removes them",
		"volume", volumeID, "target", target, "kept", to)
	return nil
}

// maxUID bounds the part of a name that is a pod's UID, which has 36 characters.
const maxUID = 64
