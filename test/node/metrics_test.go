package node

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/image-csi/image-csi-operator/internal/contract"
	"github.com/image-csi/image-csi-operator/internal/liveview"
	"github.com/image-csi/image-csi-operator/test/internal/nodes"
	"github.com/image-csi/image-csi-operator/test/internal/poll"
)

func TestTheMetricsTellWhatIsOnTheNode(t *testing.T) {
	suite.OnEveryNode(t, func(t *testing.T, p *nodes.Plugin) {
		p.Stop(t, syscall.SIGTERM)
		p.Flags = []string{"--" + contract.FlagWarmMetalMetrics}
		p.Start(t)
		p.MustPublish(t, nodes.Volume{ID: "measured-ro", Image: nodes.Numbered(2), Inline: true, ReadOnly: true})
		p.MustPublish(t, nodes.Volume{ID: "measured-rw", Image: nodes.Numbered(10), Inline: true})
		_, err := p.Publish(t, nodes.Volume{ID: "missing", Image: "registry.example/no/such:1", Inline: true})
		if status.Code(err) != codes.NotFound {
			t.Fatal(err)
		}
		wantMetrics(t, p, `imagecsi_volumes{access="ReadOnly"} 1`, `imagecsi_volumes{access="ReadWrite"} 1`, `imagecsi_pins 2`,
			`imagecsi_operations_total{code="OK",method="NodePublishVolume"} 2`,
			`imagecsi_operations_total{code="NotFound",method="NodePublishVolume"} 1`,
			`imagecsi_operation_duration_seconds_count{code="OK",method="NodePublishVolume"} 2`,
			`imagecsi_pulls_total{result="NotFound"} 1`, `imagecsi_pull_duration_seconds_count{result="NotFound"} 1`,
			`imagecsi_pulls_in_flight 0`, `imagecsi_pulls_waiting 0`, `imagecsi_orphans{kind="Data"} 0`,
			`warm_metal_operation_errors_total{operation_type="pull-async-error"} 1`)
		wantLive(t, p)

		// A reboot after which the kubelet does not know one of the pods.
		p.Stop(t, syscall.SIGKILL)
		p.Target.Run(t, "umount", p.Path("measured-rw"))
		if err := os.RemoveAll(filepath.Join(p.Target.Root(), nodes.KubeletRoot, "pods/pod-measured-rw")); err != nil {
			t.Fatal(err)
		}
		p.Start(t)
		poll.Until(t, "the metrics tell of an orphan", quick, func() error {
			return missingMetrics(t, p, `imagecsi_orphans{kind="Data"} 1`, `imagecsi_volumes{access="ReadWrite"} 0`)
		})
		if orphans := liveItems[liveview.Orphan](t, p, liveview.OrphansPath); len(orphans) != 1 || orphans[0].Kind != liveview.OrphanData || orphans[0].Pod != "pod-measured-rw" {
			t.Errorf("the live view has the orphans %+v", orphans)
		}
		p.Unpublish(t, "measured-ro")
		p.Unpublish(t, "measured-rw")
		poll.Until(t, "the metrics tell of no volume", time.Minute, func() error {
			return missingMetrics(t, p, `imagecsi_orphans{kind="Data"} 0`, `imagecsi_volumes{access="ReadOnly"} 0`)
		})
	})
}

// wantLive wants the live view to show what the metrics count, by the node's own state.
func wantLive(t *testing.T, p *nodes.Plugin) {
	t.Helper()
	images := map[string]liveview.Image{}
	for _, image := range liveItems[liveview.Image](t, p, liveview.ImagesPath) {
		images[image.Image] = image
	}
	volumes := liveItems[liveview.Volume](t, p, liveview.VolumesPath)
	if len(volumes) != 2 || len(images) != 2 {
		t.Fatalf("the live view has volumes %+v and images %+v", volumes, images)
	}
	for i, want := range []struct{ id, image, access string }{{"measured-ro", nodes.Numbered(2), "ReadOnly"}, {"measured-rw", nodes.Numbered(10), "ReadWrite"}} {
		v, image := volumes[i], images[want.image]
		if v.Pod != "pod-"+want.id || v.Image != want.image || v.Access != want.access || !strings.HasPrefix(v.Digest, "sha256:") || v.Tree != image.Tree {
			t.Errorf("volume %+v, want %+v", v, want)
		}
		if v.Since == nil || time.Since(*v.Since) > time.Minute {
			t.Errorf("volume %s is mounted since %v", v.Pod, v.Since)
		}
		if image.Volumes != 1 || image.UnusedSince != nil || image.Pin != liveview.PinHeld || image.Digest != v.Digest || image.SizeBytes == nil || *image.SizeBytes <= 0 || image.Users[0].Pod != v.Pod {
			t.Errorf("image %+v of volume %+v", image, v)
		}
	}
	var info liveview.Info
	if err := json.Unmarshal([]byte(p.Live(t, liveview.InfoPath)), &info); err != nil {
		t.Fatal(err)
	}
	if info.Runtime != p.Target.Runtime || info.RuntimeVersion == "" || info.Node != p.Target.Name || info.Kernel == "" || info.MountMode != p.Target.Mode ||
		info.Confinement.Seccomp != "Filter" || info.Confinement.NoNewPrivileges != 1 || info.Drivers[0] != p.Driver {
		t.Errorf("the live view has %+v", info)
	}
}

// liveItems asks the live view for a list, for the first time in a test: its answers may be some seconds old.
func liveItems[T any](t *testing.T, p *nodes.Plugin, path string) []T {
	t.Helper()
	var list liveview.List[T]
	if err := json.Unmarshal([]byte(p.Live(t, path)), &list); err != nil {
		t.Fatal(err)
	}
	return list.Items
}

func wantMetrics(t *testing.T, p *nodes.Plugin, lines ...string) {
	t.Helper()
	poll.Until(t, "a scrape has the figures", 10*time.Second, func() error { return missingMetrics(t, p, lines...) })
}

// missingMetrics returns an error that names the lines which a scrape lacks.
func missingMetrics(t *testing.T, p *nodes.Plugin, lines ...string) error {
	t.Helper()
	scrape := "\n" + p.Metrics(t)
	var missing []string
	for _, line := range lines {
		if !strings.Contains(scrape, "\n"+line+"\n") {
			missing = append(missing, line)
		}
	}
	if missing == nil {
		return nil
	}
	return fmt.Errorf("the scrape lacks %q; it is %s", missing, scrape)
}
