package legacy

import (
	"context"
	"errors"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"github.com/image-csi/image-csi-operator/internal/nodeplugin/hostmount"
	"github.com/image-csi/image-csi-operator/internal/nodeplugin/kubeletpods"
	"github.com/image-csi/image-csi-operator/internal/nodeplugin/legacy/leftover"
)

// use is the evidence on whether a pod needs a leftover.
type use struct {
	dir     kubeletpods.Dir
	mounts  []hostmount.Mount
	foreign map[string]bool // the targets of mounts: true for those that this driver did not make
	pods    []string        // UIDs of the pods on the node
	inline  map[string]bool // volume IDs of their inline volumes
}

func (v *Volumes) use(ctx context.Context, all []leftover.Leftover, mounts []hostmount.Mount) (use, error) {
	u := use{dir: v.pods, mounts: mounts, foreign: map[string]bool{}, inline: map[string]bool{}}
	if len(all) == 0 {
		return u, nil
	}
	for _, m := range mounts {
		u.foreign[m.Target] = !strings.HasPrefix(m.Source, v.source)
	}
	var err error
	if u.pods, err = v.mounter.List(ctx, string(v.pods)); err != nil {
		return u, err
	}
	for _, uid := range u.pods {
		volumes, err := v.mounter.List(ctx, v.pods.VolumesOf(uid))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return u, err
		}
		for _, name := range volumes {
			u.inline[kubeletpods.InlineVolumeID(uid, name)] = true
		}
	}
	return u, nil
}

// needs reports whether a pod may need a leftover now.
func (v *Volumes) needs(ctx context.Context, l leftover.Leftover) (bool, error) {
	mounts, err := v.mounter.Mounts(ctx)
	if err != nil {
		return false, err
	}
	u, err := v.use(ctx, []leftover.Leftover{l}, mounts)
	return u.shows(l) || u.awaits(l) || !u.knows(l), err
}

// shows reports whether a leftover is mounted.
func (u use) shows(l leftover.Leftover) bool {
	return isShown(l, u.mounts) || slices.ContainsFunc(l.Targets, func(target string) bool { return u.foreign[target] })
}

// awaits reports whether the pod of a leftover is there and may still need it. A pod with a volume of this driver does not.
func (u use) awaits(l leftover.Leftover) bool {
	return u.inline[l.VolumeID] || slices.ContainsFunc(l.Targets, func(target string) bool {
		_, mounted := u.foreign[target]
		pod, ok := u.dir.PodOf(target)
		return !mounted && ok && slices.Contains(u.pods, pod)
	})
}

// knows reports whether everything that could need a leftover is visible from here. A node without any pods is not what it
// seems, because this process runs in one.
func (u use) knows(l leftover.Leftover) bool {
	if len(u.pods) == 0 || (l.VolumeID == "" && len(l.Targets) == 0) || (l.VolumeID != "" && l.Upper == "") {
		return false
	}
	return !slices.ContainsFunc(l.Targets, func(target string) bool {
		_, ok := u.dir.PodOf(target)
		return !ok
	})
}

// isShown reports whether an overlay has a leftover's upper directory. The mount of CRI-O's storage library, on which the
// legacy driver's mounts are based, lies beside that directory and does not count.
func isShown(l leftover.Leftover, mounts []hostmount.Mount) bool {
	return l.Upper != "" && slices.ContainsFunc(mounts, func(m hostmount.Mount) bool {
		same := m.Upper == l.Upper || (m.Upper != "" && !filepath.IsAbs(m.Upper) && strings.HasSuffix(l.Upper, "/"+m.Upper))
		return same && filepath.Dir(m.Target) != filepath.Dir(l.Upper)
	})
}
