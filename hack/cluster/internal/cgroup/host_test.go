package cgroup

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/moby/sys/mountinfo"
)

func TestHierarchiesAreMountedByWhatTellsThemApart(t *testing.T) {
	host := fromMounts([]*mountinfo.Info{
		{Mountpoint: Root + "/cpu,cpuacct", VFSOptions: "rw,cpu,cpuacct"},
		{Mountpoint: Root + "/systemd", VFSOptions: "rw,xattr,release_agent=/lib/agent,name=systemd"},
		{Mountpoint: Root + "/memory", VFSOptions: "rw,seclabel,memory"},
		{Mountpoint: "/var/lib/somewhere/memory", VFSOptions: "rw,memory"},
	})
	want := []hierarchy{
		{dir: Root + "/cpu,cpuacct", options: "cpu,cpuacct"},
		{dir: Root + "/systemd", options: "none,name=systemd"},
		{dir: Root + "/memory", options: "memory"},
	}
	if !slices.Equal(host.hierarchies, want) {
		t.Errorf("got %v, want %v", host.hierarchies, want)
	}
	if got := host.Controllers(); !slices.Equal(got, []string{"cpu", "cpuacct", "memory"}) {
		t.Errorf("controllers are %v", got)
	}
}

func TestCreateGivesEachLevelTheCPUsOfTheOneAbove(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "cpuset.cpus"), "0-1\n")
	write(t, filepath.Join(dir, "a/cpuset.cpus"), "\n") // the kernel makes the file, empty
	host := Host{hierarchies: []hierarchy{{dir: dir, options: "cpuset"}}}
	if err := host.Create("a"); err != nil {
		t.Fatal(err)
	}
	if got, _ := os.ReadFile(filepath.Join(dir, "a/cpuset.cpus")); string(got) != "0-1\n" {
		t.Errorf("got %q", got)
	}
	write(t, filepath.Join(dir, "a/cpuset.cpus"), "1\n")
	if err := host.Create("a"); err != nil {
		t.Fatal(err)
	}
	if got, _ := os.ReadFile(filepath.Join(dir, "a/cpuset.cpus")); string(got) != "1\n" {
		t.Errorf("a second Create changed it to %q", got)
	}
}

func TestCreateEnablesControllersAboveTheGroupOfAUnifiedHierarchy(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "cgroup.controllers"), "cpuset cpu io memory hugetlb pids\n")
	write(t, filepath.Join(dir, "imagecsi-demo/cgroup.controllers"), "cpuset cpu memory pids\n")
	host := Host{Unified: true, hierarchies: []hierarchy{{dir: dir}}}
	if err := host.Create("imagecsi-demo/n1"); err != nil {
		t.Fatal(err)
	}
	for _, enabling := range []string{dir, filepath.Join(dir, "imagecsi-demo")} {
		// A plain file keeps what was written last.
		if got, _ := os.ReadFile(filepath.Join(enabling, "cgroup.subtree_control")); string(got) != "+pids" {
			t.Errorf("%s: got %q", enabling, got)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "imagecsi-demo/n1/cgroup.subtree_control")); err == nil {
		t.Error("controllers are enabled below the node's own group, which then takes no process")
	}
	if got := host.Inner("imagecsi-demo/n1"); got != "imagecsi-demo/n1/init" {
		t.Errorf("commands join %q", got)
	}
}

func TestCreateNamesTheControllerThatIsMissing(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "cgroup.controllers"), "cpuset cpu pids\n")
	host := Host{Unified: true, hierarchies: []hierarchy{{dir: dir}}}
	if err := host.Create("a"); err == nil || !strings.Contains(err.Error(), dir+" has no controller memory") {
		t.Errorf("got %v", err)
	}
}

func TestRemoveTakesTheWholeTreeAndBearsItsAbsence(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "a/b/c"), 0o755); err != nil {
		t.Fatal(err)
	}
	host := Host{hierarchies: []hierarchy{{dir: dir}}}
	for range 2 {
		if err := host.Remove(context.Background(), "a"); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "a")); !os.IsNotExist(err) {
		t.Errorf("got %v", err)
	}
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}
