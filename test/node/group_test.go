package node

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/image-csi/image-csi-operator/test/internal/nodes"
)

func TestThePodsGroupMayWriteInItsVolumeAndOwnsWhatItMakes(t *testing.T) {
	suite.OnEveryNode(t, func(t *testing.T, p *nodes.Plugin) {
		target := p.Path("group")
		path := filepath.Join(p.Target.Root(), target)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		request := nodes.Volume{ID: "group", Image: nodes.Numbered(2), Inline: true}.Request(target)
		request.VolumeCapability.GetMount().VolumeMountGroup = "2000"
		if _, err := p.NodePublishVolume(t.Context(), request); err != nil {
			t.Fatal(err)
		}
		p.Target.Run(t, "setpriv", "--reuid", "1000", "--regid", "1000", "--groups", "2000", "mkdir", filepath.Join(target, "made"))
		for name, want := range map[string]uint32{".": 2000, "made": 2000, "top": 0} {
			info, err := os.Stat(filepath.Join(path, name))
			if err != nil {
				t.Fatal(err)
			}
			if got := info.Sys().(*syscall.Stat_t).Gid; got != want {
				t.Errorf("group of %s is %d, want %d", name, got, want)
			}
			if want != 0 && info.Mode()&os.ModeSetgid == 0 {
				t.Errorf("mode of %s is %s", name, info.Mode())
			}
		}
		p.Unpublish(t, "group")
	})
}
