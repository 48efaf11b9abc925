package node

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/image-csi/image-csi-operator/test/internal/nodes"
)

// inContainer runs a shell's commands in a mount namespace in which a volume has mountPropagation: Bidirectional.
func inContainer(t *testing.T, target *nodes.Target, volume, commands string) {
	t.Helper()
	target.Run(t, "unshare", "--mount", "--propagation", "unchanged", "sh", "-e", "-c", "cd "+volume+"\n"+commands)
}

// mountsBeneath are the lines of the node's mount table that tell of mount points beneath a path.
func mountsBeneath(t *testing.T, target *nodes.Target, path string) []string {
	t.Helper()
	var found []string
	for line := range strings.Lines(target.Run(t, "cat", "/proc/self/mountinfo")) {
		if strings.Contains(line, " "+path+"/") {
			found = append(found, line)
		}
	}
	return found
}

func TestWhatAContainerMountedInItsVolumeGoesWithItsPod(t *testing.T) {
	containers := map[string]string{
		"a file system": "mkdir -p more/inner; mount -t tmpfs inner more; mkdir more/inner; mount -t tmpfs inner more/inner",
		// The runtime binds the file of terminationMessagePath.
		"its termination message":  "echo said >/run/message; touch log.txt; mount --bind /run/message log.txt",
		"a directory of the node":  "mkdir host; mount --bind /proc host",
		"a sub path of the volume": "mkdir from to; mount --bind from to; mkdir to/more; mount -t tmpfs inner to/more",
	}
	suite.OnEveryNode(t, func(t *testing.T, p *nodes.Plugin) {
		for what, commands := range containers {
			t.Run(what, func(t *testing.T) {
				v := nodes.Volume{ID: "nested", Image: nodes.Numbered(2), Inline: true}
				p.MustPublish(t, v)
				inContainer(t, p.Target, p.Path(v.ID), commands)
				if len(mountsBeneath(t, p.Target, p.Path(v.ID))) == 0 {
					t.Fatal("nothing that the container mounted arrived on the node")
				}
				p.Unpublish(t, v.ID)
				if left := mountsBeneath(t, p.Target, p.Path(v.ID)); len(left) != 0 {
					t.Errorf("left: %q", left)
				}
				wantNothingOf(t, p, v.ID, 0)
			})
		}
	})
}

func TestFilesWhereAVolumeIsNotMountedAreKeptAndThePodEnds(t *testing.T) {
	suite.OnEveryNode(t, func(t *testing.T, p *nodes.Plugin) {
		v := nodes.Volume{ID: "bare", Image: nodes.Numbered(2), Inline: true}
		path := p.MustPublish(t, v)
		p.Target.Run(t, "umount", p.Path(v.ID))
		if err := os.WriteFile(filepath.Join(path, "file"), []byte("mine"), 0o600); err != nil {
			t.Fatal(err)
		}
		p.Unpublish(t, v.ID)
		kept, err := filepath.Glob(filepath.Join(p.Target.Root(), nodes.KubeletRoot, "plugins", p.Driver, "kept", "pod-bare.*", "file"))
		if err != nil || len(kept) != 1 {
			t.Fatalf("kept are %q (%v)", kept, err)
		}
		if got := nodes.Read(t, kept[0]); got != "mine" {
			t.Errorf("the file that was kept holds %q", got)
		}
	})
}

func TestAMountThatStaysInAVolumeIsNamed(t *testing.T) {
	suite.OnEveryNode(t, func(t *testing.T, p *nodes.Plugin) {
		v := nodes.Volume{ID: "busy", Image: nodes.Numbered(2), Inline: true}
		path := p.MustPublish(t, v)
		inContainer(t, p.Target, p.Path(v.ID), "mkdir more; mount -t tmpfs inner more; echo x >more/file")
		file, err := os.Open(filepath.Join(path, "more/file"))
		if err != nil {
			t.Fatal(err)
		}
		err = p.TryUnpublish(t, v.ID)
		if status.Code(err) != codes.FailedPrecondition || !strings.Contains(err.Error(), p.Path(v.ID)+"/more") {
			t.Errorf("got %v", err)
		}
		if err := file.Close(); err != nil {
			t.Error(err)
		}
		p.Unpublish(t, v.ID)
	})
}
