package node

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/image-csi/image-csi-operator/internal/contract"
	"github.com/image-csi/image-csi-operator/test/internal/nodes"
)

// usage asks for a volume's statistics: bytes, then inodes.
func usage(t *testing.T, p *nodes.Plugin, id string) (bytes, inodes *csi.VolumeUsage) {
	t.Helper()
	response, err := p.NodeGetVolumeStats(t.Context(), &csi.NodeGetVolumeStatsRequest{VolumeId: p.VolumeID(id), VolumePath: p.Path(id)})
	if err != nil {
		t.Fatalf("statistics of %s: %v", id, err)
	}
	return response.GetUsage()[0], response.GetUsage()[1]
}

// health asks what is wrong with a volume; the reasons and sentences come as one string.
func health(t *testing.T, p *nodes.Plugin, id string) string {
	t.Helper()
	response, err := p.NodeGetVolumeHealth(t.Context(), &csi.NodeGetVolumeHealthRequest{VolumeId: p.VolumeID(id), VolumePublishPath: p.Path(id)})
	if err != nil {
		t.Fatalf("health of %s: %v", id, err)
	}
	var said []string
	for _, entry := range response.GetVolumeHealth().GetHealthStatuses() {
		said = append(said, entry.GetReason()+": "+entry.GetMessage())
	}
	return strings.Join(said, "; ")
}

func TestVolumeStatisticsTellWhatThePodWrote(t *testing.T) {
	suite.OnEveryNode(t, func(t *testing.T, p *nodes.Plugin) {
		path := p.MustPublish(t, nodes.Volume{ID: "stats-rw", Image: nodes.Numbered(2), Inline: true})
		before, inodesBefore := usage(t, p, "stats-rw")
		if err := os.WriteFile(filepath.Join(path, "big"), make([]byte, 4<<20), 0o644); err != nil {
			t.Fatal(err)
		}
		after, inodesAfter := usage(t, p, "stats-rw")
		if grown := after.GetUsed() - before.GetUsed(); grown < 4<<20 || grown > 5<<20 {
			t.Errorf("4 MiB written, %d bytes more used", grown)
		}
		if grown := inodesAfter.GetUsed() - inodesBefore.GetUsed(); grown != 1 {
			t.Errorf("one file written, %d inodes more used", grown)
		}
		p.MustPublish(t, nodes.Volume{ID: "stats-ro", Image: nodes.Numbered(10), Inline: true, ReadOnly: true})
		for _, id := range []string{"stats-rw", "stats-ro"} {
			bytes, inodes := usage(t, p, id)
			wantFigures(t, p, id, bytes, inodes)
			if said := health(t, p, id); said != "" {
				t.Errorf("%s is well, but: %s", id, said)
			}
			p.Unpublish(t, id)
			_, err := p.NodeGetVolumeStats(t.Context(), &csi.NodeGetVolumeStatsRequest{VolumeId: p.VolumeID(id), VolumePath: p.Path(id)})
			if status.Code(err) != codes.NotFound {
				t.Errorf("statistics of %s after unpublish: %v", id, err)
			}
		}
	})
}

// wantFigures wants a writable volume to have its file system's figures, and a read-only one its image's: ten layers with a
// small file each, far from the size of any disk. CRI-O's store counts no files.
func wantFigures(t *testing.T, p *nodes.Plugin, id string, bytes, inodes *csi.VolumeUsage) {
	t.Helper()
	if id == "stats-ro" {
		isImage := bytes.GetUsed() > 0 && bytes.GetUsed() < 8<<20 && bytes.GetTotal() == bytes.GetUsed() && bytes.GetAvailable() == 0
		counted := inodes.GetUsed() >= 10 && inodes.GetUsed() < 1000 || inodes.GetUsed() == 0 && p.Target.Runtime == contract.RuntimeCRIO
		if !isImage || !counted || inodes.GetTotal() != inodes.GetUsed() || inodes.GetAvailable() != 0 {
			t.Errorf("%s: %v, %v; want the size of an image of ten small layers", id, bytes, inodes)
		}
		return
	}
	if bytes.GetTotal() <= 0 || bytes.GetAvailable() <= 0 || bytes.GetUsed() <= 0 || inodes.GetTotal() <= 0 || inodes.GetUsed() <= 0 {
		t.Errorf("%s: %v, %v", id, bytes, inodes)
	}
}

func TestAVolumeThatLostItsMountSaysSo(t *testing.T) {
	suite.OnEveryNode(t, func(t *testing.T, p *nodes.Plugin) {
		p.MustPublish(t, nodes.Volume{ID: "lost", Image: nodes.Numbered(2), Inline: true, ReadOnly: true})
		p.Target.Run(t, "umount", p.Path("lost"))
		if said := health(t, p, "lost"); !strings.Contains(said, "NotMounted: Nothing is mounted") {
			t.Errorf("said %q", said)
		}
		p.Unpublish(t, "lost")
	})
}
