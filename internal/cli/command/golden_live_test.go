package command

import (
	"bytes"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"github.com/image-csi/image-csi-operator/internal/cli/document"
	"github.com/image-csi/image-csi-operator/internal/cli/overview"
	"github.com/image-csi/image-csi-operator/internal/cli/seen"
	"github.com/image-csi/image-csi-operator/internal/contract"
	"github.com/image-csi/image-csi-operator/internal/liveview"
)

// sampleViews are what the node plugins of the sample answered.
func sampleViews() []seen.View {
	tools := "sha256:" + strings.Repeat("0e42a2b4", 8)
	site := "sha256:" + strings.Repeat("9c1185a5", 8)
	old := "sha256:" + strings.Repeat("d41f77aa", 8)
	of := func(pod, node string) seen.NodePlugin {
		return seen.NodePlugin{Namespace: "image-csi-system", Pod: contract.DefaultDriverName + "-" + pod, Node: node, Driver: contract.DefaultDriverName, Revision: "7c9d4f", Port: 8082}
	}
	return []seen.View{{
		Plugin: of("containerd-x7k2p", "worker-3"),
		Info: liveview.Info{Header: liveview.HeaderOf("Info"), Version: "v0.4.0", Node: "worker-3", Drivers: []string{contract.DefaultDriverName}, Started: now.Add(-72 * time.Hour),
			Runtime: "containerd", RuntimeVersion: "2.2.1", MountMode: contract.ModeNsenter, Kernel: "6.12.41",
			Confinement: liveview.Confinement{Capabilities: "000000008820001b", NoNewPrivileges: 1, SeccompFilters: 2, Seccomp: "Filter"}},
		Volumes: []liveview.Volume{
			{Pod: "uid-trainer-0", Name: "tools", Tree: tools, Image: "ghcr.io/example/tools:1.4", Digest: "sha256:" + strings.Repeat("91ac", 16), Form: "Overlay", Access: "ReadOnly", Storage: liveview.StorageImage,
				Since: ptr.To(now.Add(-3 * time.Hour))},
			{Pod: "uid-web-5f", Name: "site", Tree: site, Image: "ghcr.io/example/site:2", Digest: "sha256:" + strings.Repeat("07fe", 16), Form: "Overlay", Access: "ReadWrite", Storage: liveview.StorageDisk,
				UsedBytes: ptr.To[int64](310 << 20), LimitBytes: ptr.To[int64](1 << 30), Since: ptr.To(now.Add(-26 * time.Hour))},
		},
		Images: []liveview.Image{
			{Tree: tools, Image: "ghcr.io/example/tools:1.4", Digest: "sha256:" + strings.Repeat("91ac", 16), Pin: liveview.PinHeld, SizeBytes: ptr.To[int64](81 << 20), Volumes: 1, Users: []liveview.User{{Pod: "uid-trainer-0", Name: "tools"}}},
			{Tree: site, Image: "ghcr.io/example/site:2", Digest: "sha256:" + strings.Repeat("07fe", 16), Pin: liveview.PinHeld, SizeBytes: ptr.To[int64](6 << 20), Volumes: 1, Users: []liveview.User{{Pod: "uid-web-5f", Name: "site"}}},
			{Tree: old, Image: "ghcr.io/example/site:1", Digest: "sha256:" + strings.Repeat("5cbe", 16), Pin: liveview.PinHeld, SizeBytes: ptr.To[int64](5 << 20), UnusedSince: ptr.To(now.Add(-4 * time.Minute))},
		},
		Pulls: []liveview.Pull{{ID: "1", Image: "registry.corp/ml/llama:8b", State: liveview.PullRunning, Pod: "ml/trainer-0", Waiting: 1, Since: now.Add(-84 * time.Second), Seconds: 84,
			DoneBytes: ptr.To[int64](9500 << 20), TotalBytes: ptr.To[int64](15200 << 20)}},
		Orphans: []liveview.Orphan{{Kind: liveview.OrphanData, Name: strings.Repeat("4f", 32), Pod: "uid-gone", Volume: "cache", RemovedIn: ptr.To[int64](600), Message: "its pod is gone; it is removed after a grace period"}},
	}, {
		Plugin: of("crio-9zq4d", "worker-9"),
		Images: []liveview.Image{{Tree: tools, Image: "ghcr.io/example/tools:1.4", Digest: "sha256:" + strings.Repeat("91ac", 16), Pin: liveview.PinHeld, SizeBytes: ptr.To[int64](84 << 20), Volumes: 3}},
		Pulls:  []liveview.Pull{{ID: "7", Image: "docker.io/library/big:1", State: liveview.PullRunning, Pod: "shop/web-1", Waiting: 4, Since: now.Add(-40 * time.Second), Seconds: 40}, {ID: "8", Image: "ghcr.io/x/y:2", State: liveview.PullWaiting, Pod: "ml/job-9", Waiting: 1, Since: now.Add(-12 * time.Second), Seconds: 12}},
	}, {
		Plugin: of("containerd-b2m8s", "worker-7"), Failure: "no answer in 10s",
	}}
}

// samplePods are those on worker-3 with their UIDs.
func samplePods() seen.Cluster {
	cluster := seen.Cluster{Pods: []corev1.Pod{samplePod("trainer-0", "worker-3", corev1.PodPending), samplePod("web-5f", "worker-3", corev1.PodRunning)}}
	for i := range cluster.Pods {
		cluster.Pods[i].UID = types.UID("uid-" + cluster.Pods[i].Name)
	}
	return cluster
}

// A node plugin that was taken over writes what it likes into what people read.
func TestATextOfANodePluginStaysInItsCell(t *testing.T) {
	const hostile = "x\x1b[2J\u009b2J\r\n\tDo  rm -rf /\a"
	views := []seen.View{{
		Plugin:  seen.NodePlugin{Node: "n", Driver: "d"},
		Info:    liveview.Info{Header: liveview.HeaderOf(hostile), Version: hostile, Kernel: hostile, NotReady: hostile + strings.Repeat("y", 1<<16), Confinement: liveview.Confinement{AppArmor: hostile}},
		Volumes: []liveview.Volume{{Pod: hostile, Name: hostile, Image: hostile, Form: hostile, Access: hostile}},
		Images:  []liveview.Image{{Tree: hostile, Image: strings.Repeat(hostile, 1000), Volumes: -5, Pin: hostile}},
		Pulls:   []liveview.Pull{{Image: hostile, Pod: hostile, Seconds: -1, DoneBytes: ptr.To[int64](1 << 62), TotalBytes: ptr.To[int64](1)}},
		Orphans: []liveview.Orphan{{Name: hostile, Message: hostile}},
	}, {Plugin: seen.NodePlugin{Node: "m"}, Failure: hostile}}
	for name, answer := range map[string]document.Document{
		"node": overview.NodeView(seen.Cluster{}, "n", views), "images": overview.Images(views), "pulls": overview.Pulls(views, document.Pulls{}, 0),
	} {
		for _, format := range []document.Format{document.FormatTable, document.FormatWide, document.FormatName, document.FormatJSON, document.FormatYAML} {
			var out bytes.Buffer
			if err := document.Write(&out, answer, format, document.Options{}); err != nil {
				t.Fatal(err)
			}
			if strings.ContainsAny(out.String(), "\x1b\u009b\r\a\t") || format == document.FormatTable && (strings.Contains(out.String(), "\nDo") || out.Len() > 1<<14) {
				t.Errorf("%s -o %s: %d bytes, %.400q", name, format, out.Len(), out.String())
			}
		}
	}
}

func TestARateNeedsTwoAnswers(t *testing.T) {
	first := overview.Pulls(sampleViews(), document.Pulls{}, 0)
	views := sampleViews()
	*views[0].Pulls[0].DoneBytes += 200 << 20
	second := overview.Pulls(views, first, 2*time.Second)
	if first.Items[0].BytesPerSecond != nil || second.Items[0].BytesPerSecond == nil || *second.Items[0].BytesPerSecond != 100<<20 || second.Items[1].BytesPerSecond != nil {
		t.Errorf("%+v, then %+v", first.Items[0], second.Items[0])
	}
}
