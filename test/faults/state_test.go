package faults

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/image-csi/image-csi-operator/internal/contract"
	"github.com/image-csi/image-csi-operator/test/internal/nodes"
)

// state is everything on a node that a node plugin makes: mounts, files, quotas, and what the runtime keeps for it.
type state []string

func stateOf(t *testing.T, p *nodes.Plugin) state {
	t.Helper()
	s := append(mounts(t, p.Target), files(t, p.Target, filepath.Join(nodes.KubeletRoot, "pods"), 1)...)
	s = append(s, files(t, p.Target, filepath.Join(nodes.KubeletRoot, contract.PluginsDir, p.Driver), 2)...)
	for _, store := range []string{"/var/lib/containerd/*", "/var/lib/containers/storage"} {
		s = append(s, files(t, p.Target, filepath.Join(store, "imagecsi"), 2)...)
	}
	if p.Target.Runtime == contract.RuntimeCRIO {
		s = append(s, storage(t, p.Target)...)
	} else {
		s = append(s, resources(t, p)...)
	}
	for _, project := range p.Target.LimitedProjects(t) {
		s = append(s, fmt.Sprintf("quota of project %d", project))
	}
	slices.Sort(s)
	return s
}

// without lists what is in s and not in other.
func (s state) without(other state) state {
	return slices.DeleteFunc(slices.Clone(s), func(line string) bool { return slices.Contains(other, line) })
}

// mounts are the node's. Two equal ones count as two.
func mounts(t *testing.T, target *nodes.Target) []string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(target.Root(), "proc/1/mountinfo"))
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for line := range strings.Lines(string(content)) {
		before, after, _ := strings.Cut(line, " - ")
		name := "mount " + strings.Fields(before)[4] + " " + strings.Join(strings.Fields(after)[:2], " ")
		for slices.Contains(found, name) {
			name = "another " + name
		}
		found = append(found, name)
	}
	return found
}

func mountsAt(t *testing.T, target *nodes.Target, path string) []string {
	t.Helper()
	return slices.DeleteFunc(mounts(t, target), func(name string) bool { return !strings.Contains(name, " "+path+" ") })
}

// files are the names beneath a directory of the node, that many levels deep.
func files(t *testing.T, target *nodes.Target, dir string, levels int) []string {
	t.Helper()
	var found []string
	pattern := filepath.Join(target.Root(), dir)
	for range levels {
		pattern = filepath.Join(pattern, "*")
		names, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			found = append(found, "file "+strings.TrimPrefix(name, target.Root()))
		}
	}
	return found
}

// resources are the leases and snapshots that containerd holds for the driver.
func resources(t *testing.T, p *nodes.Plugin) []string {
	t.Helper()
	c := p.Target.Containerd(t)
	held, err := c.LeasesService().List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, lease := range held {
		if strings.Contains(lease.ID, p.Driver) {
			found = append(found, "lease "+lease.ID)
		}
	}
	for snapshotter, names := range p.Target.Snapshots(t, c, p.Driver) {
		for _, name := range names {
			found = append(found, "snapshot "+snapshotter+" "+name)
		}
	}
	return found
}

var idPattern = regexp.MustCompile(`"id":"([0-9a-f]+)"`)

// storage are all layers and containers in CRI-O's store, as its files and as its directories tell. Two things do not
// count that the library which writes there leaves wherever it is killed, in CRI-O as well: drafts of its lists, and a
// symbolic link to a directory that was to be made next.
func storage(t *testing.T, target *nodes.Target) []string {
	t.Helper()
	const root = "/var/lib/containers/storage/"
	var found []string
	for _, dir := range []string{"overlay", "overlay-layers", "overlay-containers", "overlay/l", "overlay/tempdirs"} {
		for _, name := range files(t, target, root+dir, 1) {
			_, err := os.Stat(filepath.Join(target.Root(), strings.TrimPrefix(name, "file ")))
			if err == nil && !strings.Contains(name, "/.tmp-") {
				found = append(found, name)
			}
		}
	}
	for _, list := range []string{"overlay-layers/layers.json", "overlay-containers/containers.json"} {
		content, err := os.ReadFile(filepath.Join(target.Root(), root, list))
		if err != nil {
			t.Fatal(err)
		}
		for _, id := range idPattern.FindAllStringSubmatch(string(content), -1) {
			found = append(found, list+" "+id[1])
		}
	}
	return found
}
