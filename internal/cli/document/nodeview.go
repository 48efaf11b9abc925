package document

import (
	"fmt"

	"github.com/image-csi/image-csi-operator/internal/liveview"
)

// Print implements Document.
func (d NodeView) Print(p *Printer) {
	if len(d.Plugins) == 0 {
		p.Line("No node plugin runs on node %s; kubectl imagecsi nodes says why.", d.Name)
	}
	for _, plugin := range d.Plugins {
		plugin.print(p, d.Name)
	}
	p.unread(d.Unread)
}

func (n NodePlugin) print(p *Printer, node string) {
	p.Line("%s on node %s, pod %s/%s", n.Driver, node, n.Namespace, n.Pod)
	if n.Info != nil {
		n.printInfo(p)
	}
	if n.Reason != "" {
		p.Line("  Silent       it did not answer, or not all: %s", short(n.Reason))
	}
	n.printVolumes(p)
	n.printImages(p)
	if len(n.Pulls) > 0 {
		var rows [][]string
		for _, pull := range n.Pulls {
			rows = append(rows, []string{short(pull.Image), short(pull.Pod), string(pull.State), doneOf(pull), elapsed(pull.Seconds)})
		}
		p.Table("PULL FOR STATE DONE ELAPSED", rows)
	}
	if len(n.Orphans) > 0 {
		var rows [][]string
		for _, o := range n.Orphans {
			removed := ""
			if o.RemovedIn != nil {
				removed = elapsed(*o.RemovedIn)
			}
			rows = append(rows, []string{shortDigest(o.Name), string(o.Kind), removed, short(o.Message), short(o.Name)})
		}
		p.Table("LEFT_OVER KIND REMOVED_IN WHY +NAME", rows)
	}
}

func (n NodePlugin) printInfo(p *Printer) {
	i := n.Info
	p.Line("  Version      %s, revision %s, since %s", short(i.Version), n.Revision, i.Started.UTC().Format("2006-01-02 15:04:05 UTC"))
	p.Line("  Runtime      %s %s, kernel %s, mount mode %s", short(i.Runtime), short(i.RuntimeVersion), short(i.Kernel), short(i.MountMode))
	p.Line("  Confinement  %s", confinementOf(i.Confinement))
	if i.NotReady != "" {
		p.Line("  NotReady     %s", short(i.NotReady))
	}
}

// confinementOf says in one line what the kernel does of a process.
func confinementOf(c liveview.Confinement) string {
	text := fmt.Sprintf("seccomp %s (%d), capabilities %s, no new privileges %d", short(c.Seccomp), c.SeccompFilters, short(c.Capabilities), c.NoNewPrivileges)
	if c.AppArmor != "" {
		text += ", AppArmor " + short(c.AppArmor)
	}
	if c.SELinux != "" {
		text += ", SELinux " + short(c.SELinux)
	}
	return text
}

func (n NodePlugin) printVolumes(p *Printer) {
	var rows [][]string
	for _, v := range n.Volumes {
		rows = append(rows, []string{short(v.podOf()), short(v.Name), short(v.Image), v.Access, bytesOf(v.UsedBytes), bytesOf(v.LimitBytes), v.Form, string(v.Storage), timeOf(v.Since), v.Digest})
	}
	if len(rows) > 0 {
		p.Table("POD VOLUME IMAGE ACCESS USED LIMIT FORM +STORAGE +SINCE +DIGEST", rows)
	}
}

func (n NodePlugin) printImages(p *Printer) {
	var rows [][]string
	for _, i := range n.Images {
		rows = append(rows, []string{short(i.Image), shortDigest(i.Digest), fmt.Sprint(i.Volumes), bytesOf(i.SizeBytes), string(i.Pin), timeOf(i.UnusedSince), i.Tree})
	}
	if len(rows) > 0 {
		p.Table("KEPT_IMAGE DIGEST VOLUMES SIZE PIN UNUSED_SINCE +TREE", rows)
	}
}
