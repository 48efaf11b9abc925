package metrics

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/image-csi/image-csi-operator/internal/nodeplugin/legacy"
	"github.com/image-csi/image-csi-operator/internal/nodeplugin/recent"
	"github.com/image-csi/image-csi-operator/internal/nodeplugin/volume"
)

// CollectUsage computes the gauges from usage at each scrape, so that they show what exists and not what was counted, and from
// leftovers, which counts what the legacy driver left. It calls usage at most once in usageAge: usage reads the mount table and
// the runtime's snapshots, and every client that reaches the port may scrape.
func (m *Metrics) CollectUsage(usage func(context.Context) (volume.Usage, error), leftovers func() legacy.Counts) {
	m.registry.MustRegister(&usageCollector{
		usage: recent.New(usageAge, func(ctx context.Context) (volume.Usage, error) {
			ctx, cancel := context.WithTimeout(ctx, scrapeTimeout)
			defer cancel()
			return usage(ctx)
		}),
		leftovers: leftovers,
		volumes:   prometheus.NewDesc("imagecsi_volumes", "Image volumes mounted on this node, by access: ReadOnly or ReadWrite.", []string{"access"}, nil),
		memory: prometheus.NewDesc("imagecsi_volumes_in_memory", "Writable image volumes on this node whose data is kept in "+
			"memory because their file system cannot limit them.", nil, nil),
		pins: prometheus.NewDesc("imagecsi_pins", "Image trees on this node that are kept from garbage collection.", nil, nil),
		unpinned: prometheus.NewDesc("imagecsi_mounted_without_pin", "Image trees mounted on this node that nothing keeps from "+
			"garbage collection. The next sweep pins them again. If the layers are gone, it logs the volumes whose pods to delete.", nil, nil),
		repinned: prometheus.NewDesc("imagecsi_trees_repinned_total", "Image trees that volumes used without a pin and that the "+
			"node plugin pinned again since it started.", nil, nil),
		adopted: prometheus.NewDesc("imagecsi_adopted", "Snapshots (containerd) and storage containers (CRI-O) of the "+
			"legacy driver that pods on this node still need.", nil, nil),
		orphans: prometheus.NewDesc("imagecsi_orphans", "Data and leftovers on this node that belong to no pod and are not "+
			"removed yet, by kind: Data of a writable volume, or Leftover of the legacy driver.", []string{"kind"}, nil),
		removed: prometheus.NewDesc("imagecsi_orphans_removed_total", "Orphans removed since the node plugin started, by "+
			"kind. A leftover of the legacy driver also counts when its volume is unpublished.", []string{"kind"}, nil),
	})
}

type usageCollector struct {
	usage     *recent.Answer[volume.Usage]
	leftovers func() legacy.Counts

	volumes, memory, pins, unpinned, repinned, adopted, orphans, removed *prometheus.Desc
}

const (
	// scrapeTimeout keeps a scrape from hanging with the container runtime.
	scrapeTimeout = 3 * time.Second

	// usageAge is how old the figures of a scrape may be. Scrapes are half a minute apart as a rule.
	usageAge = 2 * time.Second
)

// Describe implements prometheus.Collector.
func (c *usageCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, desc := range []*prometheus.Desc{c.volumes, c.memory, c.pins, c.unpinned, c.repinned, c.adopted, c.orphans, c.removed} {
		ch <- desc
	}
}

// Collect implements prometheus.Collector. What cannot be determined is left out of the scrape.
func (c *usageCollector) Collect(ch chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), scrapeTimeout)
	defer cancel()
	usage, err := c.usage.Get(ctx)
	if err != nil {
		return
	}
	send := func(desc *prometheus.Desc, kind prometheus.ValueType, value int, labels ...string) {
		ch <- prometheus.MustNewConstMetric(desc, kind, float64(value), labels...)
	}
	send(c.volumes, prometheus.GaugeValue, usage.ReadOnly, "ReadOnly")
	send(c.volumes, prometheus.GaugeValue, usage.Writable, "ReadWrite")
	send(c.memory, prometheus.GaugeValue, usage.InMemory)
	send(c.pins, prometheus.GaugeValue, usage.Pins)
	send(c.unpinned, prometheus.GaugeValue, usage.MountedWithoutPin)
	send(c.repinned, prometheus.CounterValue, usage.Repinned)
	leftovers := c.leftovers()
	send(c.adopted, prometheus.GaugeValue, leftovers.Adopted)
	send(c.orphans, prometheus.GaugeValue, usage.OrphanedData, "Data")
	send(c.orphans, prometheus.GaugeValue, leftovers.Orphaned, "Leftover")
	send(c.removed, prometheus.CounterValue, usage.RemovedData, "Data")
	send(c.removed, prometheus.CounterValue, leftovers.Removed, "Leftover")
}
