package node

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/image-csi/image-csi-operator/api/v1alpha1"
	"github.com/image-csi/image-csi-operator/internal/contract"
	"github.com/image-csi/image-csi-operator/internal/operator/render"
	"github.com/image-csi/image-csi-operator/test/internal/dashboard"
	"github.com/image-csi/image-csi-operator/test/internal/nodes"
	"github.com/image-csi/image-csi-operator/test/internal/poll"
)

// emptyPanels are panels about node plugins that show nothing here, and why.
func emptyPanels() map[string]string {
	return map[string]string{
		"Alerts that fire": "Prometheus itself writes ALERTS, some minutes after what an alert is about; test/monitoring has each alert fire",
	}
}

// What the dashboard's panels about node plugins ask is asked of what node plugins said while they pulled, mounted, limited, refused and
// failed. Without a number for a query the test fails. (15 s)
func TestTheDashboardShowsWhatNodePluginsDo(t *testing.T) {
	plugins := make([]*nodes.Plugin, len(suite.Targets(t)))
	for i, target := range suite.Targets(t) {
		plugins[i] = &nodes.Plugin{Target: target, Driver: nodes.DriverName(), Flags: []string{"--" + contract.FlagLimitFallback + "=" + string(contract.FallbackMemory)}}
		plugins[i].Start(t)
		t.Cleanup(func() { plugins[i].Stop(t, syscall.SIGTERM) })
		orphan(t, plugins[i])
	}
	recorder := dashboard.Record(t)
	for _, p := range plugins {
		recorder.Also(dashboard.Target{Labels: scrapeLabels(t, p), Scrape: p.Scraper()})
	}
	var worked atomic.Int32
	if !t.Run("at work", func(t *testing.T) {
		for _, p := range plugins {
			t.Run(p.Target.Name, func(t *testing.T) {
				t.Parallel()
				work(t, p, recorder)
				worked.Add(1)
			})
		}
	}) {
		return
	}
	if int(worked.Load()) < len(plugins) {
		t.Skip("-run has left out node plugins, without whose work panels are empty")
	}
	if asked := recorder.Shows(t, "../..", dashboard.IsOfNodePlugins, emptyPanels()); asked < 30 {
		t.Errorf("asked %d queries only", asked)
	}
	recorder.Draw(t, "../..", "dashboard-nodes.svg", "Mounts", "Pulls", "What nodes keep", "Node plugins")
}

// scrapeLabels are those that the operator's PodMonitor has Prometheus give a node plugin.
func scrapeLabels(t *testing.T, p *nodes.Plugin) map[string]string {
	t.Helper()
	known := map[string]string{
		"__meta_kubernetes_pod_label_imagecsi_dev_driver":     contract.DefaultDriverName, // which has one node plugin on each node
		"__meta_kubernetes_pod_label_imagecsi_dev_node_class": strings.ReplaceAll(p.Target.Runtime, "-", ""),
		"__meta_kubernetes_pod_node_name":                     p.Target.Name,
	}
	objects := render.Render(render.Input{
		Driver: &v1alpha1.ImageCSIDriver{ObjectMeta: metav1.ObjectMeta{Name: contract.DefaultDriverName}}, Kinds: []render.OptionalKind{render.PodMonitor()},
	}).Apply
	endpoints, _, err := unstructured.NestedSlice(objects[len(objects)-1].(*unstructured.Unstructured).Object, "spec", "podMetricsEndpoints")
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for _, one := range endpoints[0].(map[string]any)["relabelings"].([]any) {
		relabeling := one.(map[string]any)
		from := relabeling["sourceLabels"].([]any)[0].(string)
		if known[from] == "" {
			t.Fatalf("the PodMonitor asks for %s, which this test does not know", from)
		}
		out[relabeling["targetLabel"].(string)] = known[from]
	}
	return out
}

// orphaned is the ID of a volume whose pod is gone.
const orphaned = "shown-orphan"

// orphan leaves what a pod wrote behind, by a reboot after which the kubelet does not know the pod.
func orphan(t *testing.T, p *nodes.Plugin) {
	t.Helper()
	p.MustPublish(t, nodes.Volume{ID: orphaned, Image: nodes.Numbered(2), Inline: true})
	p.Stop(t, syscall.SIGKILL)
	p.Target.Run(t, "umount", p.Path(orphaned))
	if err := os.RemoveAll(filepath.Join(p.Target.Root(), nodes.KubeletRoot, "pods/pod-"+orphaned)); err != nil {
		t.Fatal(err)
	}
	p.Start(t)
}

// work has a node plugin do what it does in a cluster where some things go wrong.
func work(t *testing.T, p *nodes.Plugin, recorder *dashboard.Recorder) {
	image := func(name string) string { return suite.Registry() + "/dashboard/" + p.Target.Name + ":" + name }
	fails := func(code codes.Code, v nodes.Volume) {
		t.Helper()
		if err := publishToItsEnd(t, p, v); status.Code(err) != code {
			t.Errorf("publish of %s: %v, want %s", v.Image, err, code)
		}
	}
	mounted := []string{orphaned} // which the kubelet may still unpublish
	mount := func(v nodes.Volume) string {
		t.Helper()
		mounted = append(mounted, v.ID)
		return p.MustPublish(t, v)
	}
	const rounds = 3
	for round := range rounds {
		name := fmt.Sprint(round)
		suite.Push(t, "dashboard/"+p.Target.Name+":"+name, unique(t))
		for copy := range 1 + round {
			mount(nodes.Volume{ID: fmt.Sprintf("shown-%d-%d", round, copy), Image: image(name), Inline: true, ReadOnly: true})
		}
		writable := mount(nodes.Volume{ID: "shown-rw-" + name, Image: image(name), Inline: true})
		if err := os.WriteFile(filepath.Join(writable, "new"), make([]byte, 1<<20), 0o644); err != nil {
			t.Error(err)
		}
		wantLimit(t, mount(sizeLimited("shown-limited-"+name)))
		fails(codes.NotFound, nodes.Volume{ID: "shown-missing", Image: "registry.example/no/such:1", Inline: true})
		bad := sizeLimited("shown-refused")
		bad.Attributes[contract.SizeLimitAttribute] = "much"
		fails(codes.InvalidArgument, bad)
		if p.Target.Runtime == contract.RuntimeContainerd { // CRI-O tries for a minute
			suite.Push(t, "faulty/500/dashboard-"+p.Target.Name+":"+name, unique(t))
			fails(codes.Unavailable, nodes.Volume{ID: "shown-failing", Image: suite.Registry() + "/faulty/500/dashboard-" + p.Target.Name + ":" + name, Inline: true})
		}
		gone := nodes.Volume{ID: "shown-gone", Inline: true}
		_, err := p.NodeGetVolumeStats(t.Context(), &csi.NodeGetVolumeStatsRequest{VolumeId: p.VolumeID(gone.ID), VolumePath: p.Path(gone.ID)})
		if status.Code(err) != codes.NotFound {
			t.Errorf("statistics of no volume: %v", err)
		}
		recorder.Scraped(t, 1)
	}
	hangs(t, p, recorder)
	for _, id := range mounted {
		p.Unpublish(t, id)
	}
	recorder.Scraped(t, 3) // a node plugin looks at most once in two seconds
}

// hangs has a pull go on for some scrapes.
func hangs(t *testing.T, p *nodes.Plugin, recorder *dashboard.Recorder) {
	t.Helper()
	repository := "faulty/hang/dashboard-" + p.Target.Name
	suite.Push(t, repository+":1", uniqueOf(t, 8<<20))
	v := nodes.Volume{ID: "shown-hanging", Image: suite.Registry() + "/" + repository + ":1", Inline: true, ReadOnly: true}
	var ended error
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, ended = p.Publish(t, v)
	}()
	poll.Until(t, "a pull goes on", quick, func() error { return missingMetrics(t, p, "imagecsi_pulls_in_flight 1") })
	recorder.Scraped(t, 2)
	suite.Push(t, repository+":healed", unique(t))
	select {
	case <-done:
	case <-time.After(time.Minute):
		t.Fatal("a pull does not end when the registry is well again")
	}
	if ended != nil {
		t.Error(ended)
	}
	p.Unpublish(t, v.ID)
}
