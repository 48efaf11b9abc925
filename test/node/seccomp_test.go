package node

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/image-csi/image-csi-operator/internal/contract"
	"github.com/image-csi/image-csi-operator/internal/operator/security"
	"github.com/image-csi/image-csi-operator/test/internal/escapes"
	"github.com/image-csi/image-csi-operator/test/internal/imitate"
	"github.com/image-csi/image-csi-operator/test/internal/nodes"
)

// confined starts the node plugin by runc under its own seccomp profile on every node, in the mount mode that needs no privileges.
func confined(t *testing.T, test func(*testing.T, *nodes.Plugin)) {
	t.Helper()
	for _, target := range suite.Targets(t) {
		t.Run(target.Name, func(t *testing.T) {
			t.Parallel()
			p := &nodes.Plugin{Target: target.In(contract.ModeNsenter), Driver: nodes.DriverName(), Seccomp: security.Profile()}
			p.Start(t)
			t.Cleanup(func() { p.Stop(t, syscall.SIGTERM) })
			test(t, p)
		})
	}
}

func TestUnderItsOwnSeccompProfileAPluginServesEveryKindOfVolume(t *testing.T) {
	confined(t, func(t *testing.T, p *nodes.Plugin) {
		p.Register(t)
		if missing := p.Ready(t); missing != nil {
			t.Errorf("not ready: %v", missing)
		}
		status := nodes.Read(t, fmt.Sprintf("/proc/%d/status", p.PID(t)))
		if !strings.Contains(status, "Seccomp:\t2\n") || !strings.Contains(status, "Seccomp_filters:\t2\n") {
			t.Errorf("the plugin has not both filters, the container's and its own: %s", status)
		}
		forbiddenCallsAreRefused(t, p)
		for _, layers := range []int{1, 2, 60} {
			volumes := []nodes.Volume{
				{ID: fmt.Sprintf("ro-%d", layers), Inline: true, ReadOnly: true}, {ID: fmt.Sprintf("pv-%d", layers), ReadOnly: true},
				{ID: fmt.Sprintf("rw-%d", layers), Inline: true}, mappable(fmt.Sprintf("map-%d", layers), "", true),
				writableMappable(fmt.Sprintf("copy-%d", layers), ""),
			}
			for _, v := range volumes {
				v.Image = nodes.Numbered(layers)
				path := p.MustPublish(t, v)
				if err := os.WriteFile(filepath.Join(path, "mine"), []byte("mine"), 0o644); (err == nil) == v.ReadOnly {
					t.Errorf("%s: writing: %v", v.ID, err)
				}
				if bytes, _ := usage(t, p, v.ID); bytes.GetTotal() <= 0 {
					t.Errorf("%s: statistics show %v", v.ID, bytes)
				}
				if said := health(t, p, v.ID); said != "" {
					t.Errorf("%s: health %q", v.ID, said)
				}
			}
		}
		if metrics := p.Metrics(t); !strings.Contains(metrics, "imagecsi_") {
			t.Errorf("metrics: %s", metrics)
		}

		p.Stop(t, syscall.SIGTERM)
		p.Start(t)
		if got := nodes.Read(t, p.Target.Root(), p.Path("rw-2"), "mine"); got != "mine" {
			t.Errorf("after a restart the volume holds %q", got)
		}
		for _, layers := range []int{1, 2, 60} {
			for _, kind := range []string{"ro", "pv", "rw", "map", "copy"} {
				p.Unpublish(t, fmt.Sprintf("%s-%d", kind, layers))
			}
		}
		if left := p.Mounts(t); len(left) != 0 {
			t.Errorf("mounts are left: %q", left)
		}
	})
}

// forbiddenCallsAreRefused tries them on threads like each of the plugin's.
func forbiddenCallsAreRefused(t *testing.T, p *nodes.Plugin) {
	t.Helper()
	for _, thread := range threadsOf(t, p) {
		tid, err := strconv.Atoi(filepath.Base(thread))
		if err != nil {
			t.Fatal(err)
		}
		var wrong []string
		err = imitate.Thread(tid, func() {
			for _, e := range escapes.RefusedToAll() {
				if err := e.Try(); !errors.Is(err, unix.EPERM) {
					wrong = append(wrong, fmt.Sprintf("to %s: %v", e.Name, err))
				}
			}
		})
		if err != nil || len(wrong) > 0 {
			t.Errorf("%s: %q, %v", thread, wrong, err)
		}
	}
}

// The answer to a volume with a size limit is the node's, and the profile must not change it.
func TestUnderItsOwnSeccompProfileAPluginLimitsVolumesAsWithoutIt(t *testing.T) {
	confined(t, func(t *testing.T, p *nodes.Plugin) {
		free := nodes.Start(t, p.Target, nodes.DriverName())
		limited := nodes.Volume{ID: "limited", Image: nodes.Numbered(2), Inline: true, Attributes: map[string]string{"sizeLimit": "8Mi"}}
		_, want := free.Publish(t, limited)
		_, got := p.Publish(t, limited)
		if fmt.Sprint(got) != strings.ReplaceAll(fmt.Sprint(want), free.Driver, p.Driver) {
			t.Errorf("under the profile: %v; without: %v", got, want)
		}
		if got == nil {
			p.Unpublish(t, "limited")
		}
		if want == nil {
			free.Unpublish(t, "limited")
		}
	})
}

// Each of these fails without one system call that the profile lists: the tests above would see a profile that lacks it.
func TestWithoutASystemCallOfTheProfileNoVolumeIsMounted(t *testing.T) {
	for _, missing := range []string{"move_mount"} {
		t.Run(missing, func(t *testing.T) {
			confined(t, func(t *testing.T, p *nodes.Plugin) {
				p.Stop(t, syscall.SIGTERM)
				without(p.Seccomp, missing)
				p.Start(t)
				if _, err := p.Publish(t, nodes.Volume{ID: "none", Image: nodes.Numbered(2), Inline: true, ReadOnly: true}); err == nil {
					t.Error("the volume is mounted")
				} else {
					t.Log(err)
				}
			})
		})
	}
}

// without takes a system call off a profile.
func without(profile map[string]any, name string) {
	for _, rule := range profile["syscalls"].([]any) {
		rule := rule.(map[string]any)
		rule["names"] = slices.DeleteFunc(rule["names"].([]any), func(n any) bool { return n == name })
	}
}
