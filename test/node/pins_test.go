package node

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/image-csi/image-csi-operator/internal/contract"
	"github.com/image-csi/image-csi-operator/test/internal/nodes"
	"github.com/image-csi/image-csi-operator/test/internal/poll"
)

// A person removes a pin, or CRI-O's repair of its store. The node plugin is started again because it sweeps then. (11 s, most
// of it until the figures of a scrape are old enough to be taken anew)
func TestAMountedImageThatLostItsPinIsPinnedAgain(t *testing.T) {
	suite.OnEveryNode(t, func(t *testing.T, p *nodes.Plugin) {
		path := p.MustPublish(t, nodes.Volume{ID: "unpinned", Image: nodes.Numbered(2), Inline: true, ReadOnly: true})
		losePins(t, p)
		poll.Until(t, "the metrics tell of a mount without a pin", quick, func() error {
			return missingMetrics(t, p, `imagecsi_mounted_without_pin 1`, `imagecsi_pins 0`)
		})
		p.Stop(t, syscall.SIGKILL)
		p.Start(t)
		poll.Until(t, "it is pinned again", quick, func() error {
			return missingMetrics(t, p, `imagecsi_mounted_without_pin 0`, `imagecsi_pins 1`, `imagecsi_trees_repinned_total 1`)
		})
		if found := p.Target.Pins(t, p.Driver); len(found) != 1 {
			t.Errorf("pins %q", found)
		}
		if got := nodes.Read(t, path, "top"); got != "1\n" {
			t.Errorf("/top holds %q", got)
		}
		p.Unpublish(t, "unpinned")
	})
}

// pinID is a pin in CRI-O's list of storage containers.
var pinID = regexp.MustCompile(`"id":"([0-9a-f]{64})"`)

func losePins(t *testing.T, p *nodes.Plugin) {
	t.Helper()
	if p.Target.Runtime != contract.RuntimeCRIO {
		p.Target.RemovePins(t, p.Driver)
		return
	}
	for _, pin := range p.Target.Pins(t, p.Driver) {
		if id := pinID.FindStringSubmatch(pin); id != nil {
			legacyDriver{node: p.Target}.remove(t, id[1])
		}
	}
}

// As when a node's class changes, or a pod was deleted by force. (4 s)
func TestASecondProcessOfADriverServesWhenTheFirstHasEnded(t *testing.T) {
	suite.OnEveryNode(t, func(t *testing.T, p *nodes.Plugin) {
		p.MustPublish(t, nodes.Volume{ID: "first", Image: nodes.Numbered(2), Inline: true, ReadOnly: true})
		second := &nodes.Plugin{Target: p.Target, Driver: p.Driver}
		second.Start(t) // which finds the socket of the first
		t.Cleanup(func() { second.Stop(t, syscall.SIGTERM) })
		poll.Until(t, "the second one waits", quick, func() error {
			if err := second.Ready(t); err == nil || !strings.Contains(err.Error(), "waiting for the node plugin") {
				return fmt.Errorf("readiness: %w", err)
			}
			return nil
		})
		second.Alive(t)
		p.MustPublish(t, nodes.Volume{ID: "meanwhile", Image: nodes.Numbered(2), Inline: true})
		if said := second.Said(); strings.Contains(said, `"serving"`) {
			t.Errorf("the second one serves: %s", said)
		}
		p.Stop(t, syscall.SIGKILL)
		poll.Until(t, "the second one serves", quick, func() error {
			if !strings.Contains(second.Said(), `"serving"`) {
				return errors.New(second.Said())
			}
			return nil
		})
		second.Unpublish(t, "first")
		second.Unpublish(t, "meanwhile")
	})
}
